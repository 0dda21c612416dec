//! An L2 order book with a stated depth.
