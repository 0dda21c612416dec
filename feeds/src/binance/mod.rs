//! Binance spot and futures: decoder and sequencer.
