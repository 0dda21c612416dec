"""What Brian2 2.9.0 makes of small circuits, as JSON that tests compare with.

    pip install "numpy<2" brian2==2.9.0 "setuptools<81"
    python from_brian2.py      # writes brian2_lif.json and brian2_stdp.json beside itself

Everything is float64, dt 1 ms. Inputs are drawn from a fixed seed and written with the results.

brian2_lif.json   Cells with the four parameter sets of the benchmark network (Brian2's exact method),
    each under its own excitatory and inhibitory spikes: [step, weight] pairs, delay 1 ms. `v` is the
    potential at the end of every step, `spikes` the steps in which the cell fired. Brian2 counts the
    step of the spike itself as refractory, hence refractory_ms + dt in its model.
brian2_stdp.json  Pair STDP on 5 x 2 synapses. Spikes of one step see the traces without each other:
    weights change before traces take the spikes. `at` lists the steps after whose events the traces
    `x` (by source), `y` (by target) and the weights `w` (source by target) were read.
"""

import json
import pathlib

import brian2 as b
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
DIGITS = 10

# name, tau_m, tau_exc, tau_inh, refractory (ms), drive, weights, excitatory and inhibitory Hz
LIF = [
    ("granule", 8.0, 3.0, 10.0, 2.0, 0.0, 1.75, 1.125, 250.0, 60.0),
    ("golgi", 20.0, 3.0, 10.0, 2.0, 0.55, 0.5, 0.125, 600.0, 100.0),
    ("purkinje", 15.0, 3.0, 10.0, 2.0, 0.80, 0.25, 0.0625, 600.0, 100.0),
    ("nuclear", 20.0, 3.0, 10.0, 2.0, 2.00, 0.0625, 0.125, 800.0, 400.0),
]
LIF_STEPS = 300
STDP_STEPS = 500
STDP = dict(tau_pre_ms=20.0, tau_post_ms=20.0, a_plus=0.1, a_minus=0.105, rate=0.01)


def rounded(values):
    return [float(f"{v:.{DIGITS}g}") for v in np.asarray(values, float)]


def trains(rng, cells, rate_hz, steps):
    hit = rng.random((steps, cells)) < rate_hz * 1e-3
    step, cell = np.nonzero(hit)
    return step, cell


def lif(rng):
    ms = b.ms
    b.start_scope()
    cells = []
    for name, tau_m, tau_e, tau_i, t_ref, drive, w_exc, w_inh, exc_hz, inh_hz in LIF:
        group = b.NeuronGroup(
            1,
            """dv/dt = (-v + ie - ii + ix)/tm : 1 (unless refractory)
               die/dt = -ie/te : 1
               dii/dt = -ii/ti : 1""",
            threshold="v >= 1",
            reset="v = 0",
            refractory=(t_ref + 1.0) * ms,
            method="exact",
            namespace=dict(tm=tau_m * ms, te=tau_e * ms, ti=tau_i * ms, ix=drive),
        )
        v0 = float(np.float32(rng.random() * 0.9))
        group.v = v0
        group.lastspike = -1000 * ms
        objects, inputs = [group], {}
        for var, weight, hz in (("ie", w_exc, exc_hz), ("ii", w_inh, inh_hz)):
            step, cell = trains(rng, 1, hz, LIF_STEPS)
            source = b.SpikeGeneratorGroup(1, cell, step * ms)
            synapse = b.Synapses(source, group, "w : 1", on_pre=f"{var}_post += w", delay=1 * ms)
            synapse.connect()
            synapse.w = weight
            objects += [source, synapse]
            inputs[var] = [[int(s), weight] for s in step]
        state = b.StateMonitor(group, "v", record=True, when="end")
        spikes = b.SpikeMonitor(group)
        b.Network(*objects, state, spikes).run(LIF_STEPS * ms)
        cells.append(
            dict(
                name=name, tau_m_ms=tau_m, tau_exc_ms=tau_e, tau_inh_ms=tau_i, refractory_ms=t_ref,
                drive=drive, v0=v0, exc=inputs["ie"], inh=inputs["ii"],
                spikes=[int(round(float(t / ms))) for t in spikes.t], v=rounded(state.v[0]),
            )
        )
    return dict(brian2=b.__version__, steps=LIF_STEPS, cells=cells)


def stdp(rng):
    ms = b.ms
    b.start_scope()
    pre_step, pre_cell = trains(rng, 5, 40.0, STDP_STEPS)
    post_step, post_cell = trains(rng, 2, 60.0, STDP_STEPS)
    pre = b.SpikeGeneratorGroup(5, pre_cell, pre_step * ms)
    post = b.SpikeGeneratorGroup(2, post_cell, post_step * ms)
    synapses = b.Synapses(
        pre,
        post,
        """w : 1
           dx/dt = -x/tau_pre : 1 (clock-driven)
           dy/dt = -y/tau_post : 1 (clock-driven)""",
        on_pre=dict(pre_weight="w = clip(w - minus*y, 0, 1)", pre_trace="x += 1"),
        on_post=dict(post_weight="w = clip(w + plus*x, 0, 1)", post_trace="y += 1"),
        method="exact",
        namespace=dict(
            tau_pre=STDP["tau_pre_ms"] * ms,
            tau_post=STDP["tau_post_ms"] * ms,
            plus=STDP["rate"] * STDP["a_plus"],
            minus=STDP["rate"] * STDP["a_minus"],
        ),
    )
    synapses.connect()
    for order, pathway in enumerate(("post_weight", "pre_weight", "pre_trace", "post_trace")):
        getattr(synapses, pathway).order = order
    i, j = np.asarray(synapses.i), np.asarray(synapses.j)
    # Two start near a bound, so that clipping is exercised.
    w0 = np.float32(rng.random(10)).astype(float)
    w0[0], w0[9] = 0.0, 1.0
    synapses.w = w0
    monitor = b.StateMonitor(synapses, ["w", "x", "y"], record=True, when="end")
    b.Network(pre, post, synapses, monitor).run(STDP_STEPS * ms)
    at = list(range(9, STDP_STEPS, 10))
    by_source = [int(np.flatnonzero(i == k)[0]) for k in range(5)]
    by_target = [int(np.flatnonzero(j == k)[0]) for k in range(2)]
    order = np.lexsort((j, i))
    return dict(
        brian2=b.__version__,
        steps=STDP_STEPS,
        **STDP,
        pre=[[int(s), int(c)] for s, c in zip(pre_step, pre_cell)],
        post=[[int(s), int(c)] for s, c in zip(post_step, post_cell)],
        w0=[float(x) for x in w0[order]],
        at=at,
        x=[rounded(monitor.x[by_source, k]) for k in at],
        y=[rounded(monitor.y[by_target, k]) for k in at],
        w=[rounded(monitor.w[order, k]) for k in at],
    )


def main():
    b.prefs.codegen.target = "numpy"
    b.defaultclock.dt = 1 * b.ms
    for name, made in (("lif", lif), ("stdp", stdp)):
        text = json.dumps(made(np.random.default_rng(7)))
        (HERE / f"brian2_{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
