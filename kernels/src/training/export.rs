//! Tensors as the bytes of a safetensors file.
//!
//! Invariant: equal tensors give equal bytes.

use burn::tensor::Tensor;
use safetensors::tensor::{Dtype, TensorView};

use super::trainer::TrainError;

/// Tensors by name, on their way into a file.
#[derive(Debug, Default)]
pub(super) struct File {
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl File {
    pub(super) fn add(
        &mut self,
        name: String,
        shape: &[usize],
        values: &Tensor<1>,
    ) -> Result<(), TrainError> {
        self.add_numbers(name, shape, &numbers(values)?);
        Ok(())
    }

    pub(super) fn add_numbers(&mut self, name: String, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensors.push((name, shape.to_vec(), bytes));
    }

    /// The file, with one entry of text if there is any: of several, the order would be a hash's.
    pub(super) fn bytes(&self, text: Option<(&str, String)>) -> Result<Vec<u8>, TrainError> {
        let backend =
            |e: safetensors::SafeTensorError| TrainError::Backend { message: e.to_string() };
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, shape, bytes) in &self.tensors {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(backend)?;
            views.push((name, view));
        }
        let text = text.map(|(key, value)| std::iter::once((key.to_owned(), value)).collect());
        safetensors::serialize(views, text).map_err(backend)
    }
}

/// The numbers of a tensor.
pub(super) fn numbers(values: &Tensor<1>) -> Result<Vec<f32>, TrainError> {
    values.try_to_vec_as::<f32>().map_err(|e| TrainError::Backend { message: format!("{e:?}") })
}
