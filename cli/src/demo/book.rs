//! Order-book events out of thin air: a small book whose orders come, go, change and trade at random,
//! so that its prices do a random walk.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use qadataswap::arrow_array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt32Array,
    UInt64Array, cast::AsArray, types::Float64Type, types::TimestampNanosecondType,
    types::UInt32Type, types::UInt64Type,
};
use qadataswap::arrow_schema::{DataType, Field, TimeUnit};

/// Rows of one event at most: a trade and the orders it fills.
pub const MOST_ROWS: usize = 8;
const TICK: f64 = 0.25;
const FIRST_PRICE_TICKS: i64 = 18_900;
/// Orders on a side: cancelling prevails above, adding below.
const USUAL_ORDERS: usize = 100;
/// Fewer than these are not traded against.
const FEWEST_ORDERS: usize = 10;

/// One resting order.
#[derive(Clone, Copy, Debug)]
struct Order {
    id: u64,
    /// Price in ticks for bids, its negative for asks: more is better on either side.
    rank: i64,
    size: u32,
}

/// One row of an event.
#[derive(Clone, Copy, Debug)]
struct Row {
    order_id: u64,
    side: Side,
    action: &'static str,
    price: f64,
    size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Bid,
    Ask,
}

impl Side {
    fn other(self) -> Self {
        if self == Self::Bid { Self::Ask } else { Self::Bid }
    }

    fn letter(self) -> &'static str {
        if self == Self::Bid { "B" } else { "A" }
    }

    fn price(self, rank: i64) -> f64 {
        TICK * (if self == Self::Bid { rank } else { -rank }) as f64
    }
}

/// The book and what changes it.
#[derive(Debug)]
pub struct Book {
    random: fastrand::Rng,
    /// By side, best order last; of the same price, the oldest last.
    orders: [Vec<Order>; 2],
    next_order: u64,
    next_sequence: u64,
    rows: Vec<Row>,
}

impl Book {
    pub fn new() -> Self {
        let random = fastrand::Rng::with_seed(0x5eed);
        let orders = [Vec::new(), Vec::new()];
        let mut book = Self { random, orders, next_order: 1, next_sequence: 1, rows: Vec::new() };
        for _ in 0..USUAL_ORDERS {
            book.add(Side::Bid);
            book.add(Side::Ask);
        }
        book.rows.clear();
        book
    }

    /// Columns of an event.
    pub fn fields() -> Vec<Field> {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        [
            ("ts_event", time),
            ("sequence", DataType::UInt64),
            ("order_id", DataType::UInt64),
            ("side", DataType::Utf8),
            ("action", DataType::Utf8),
            ("price", DataType::Float64),
            ("size", DataType::UInt32),
            ("checksum", DataType::UInt64),
        ]
        .map(|(name, data_type)| Field::new(name, data_type, false))
        .to_vec()
    }

    /// The next event: something happens to the book. `number` goes into the checksums.
    pub fn event(&mut self, number: u64) -> Vec<ArrayRef> {
        self.rows.clear();
        self.happen();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = time.as_nanos() as i64;
        let rows = &self.rows;
        let first = self.next_sequence;
        self.next_sequence += rows.len() as u64;
        let times = TimestampNanosecondArray::from(vec![time; rows.len()]).with_timezone("UTC");
        let checksums = (first..).zip(rows).map(|(sequence, row)| {
            let letters = [row.side.letter(), row.action];
            checksum(number, time, sequence, row.order_id, letters, row.price, row.size)
        });
        vec![
            Arc::new(times),
            Arc::new(UInt64Array::from_iter_values(first..self.next_sequence)),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.order_id))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.side.letter()))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.action))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.price))),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.size))),
            Arc::new(UInt64Array::from_iter_values(checksums)),
        ]
    }

    fn happen(&mut self) {
        let side = if self.random.bool() { Side::Bid } else { Side::Ask };
        let resting = self.orders[side as usize].len();
        let to_trade = self.orders[side.other() as usize].len();
        match self.random.u32(..100) {
            0..12 if to_trade > FEWEST_ORDERS => self.trade(side),
            12..25 => self.modify(side),
            25..60 if resting > USUAL_ORDERS => self.cancel(side),
            60.. if resting > 2 * USUAL_ORDERS => self.cancel(side),
            _ => self.add(side),
        }
    }

    fn add(&mut self, side: Side) {
        let against = self.orders[side.other() as usize].last();
        // The best price of the other side, as a rank on this one.
        let limit = match against {
            Some(order) => -order.rank,
            None if side == Side::Bid => FIRST_PRICE_TICKS + 1,
            None => -FIRST_PRICE_TICKS,
        };
        // Half of the orders right at the market, a quarter behind them, and so on.
        let distance = i64::from(self.random.u16(..).trailing_zeros());
        let (id, rank) = (self.next_order, limit - 1 - distance);
        let size = self.random.u32(1..=10);
        self.next_order += 1;
        let orders = &mut self.orders[side as usize];
        let place = orders.partition_point(|order| order.rank < rank);
        orders.insert(place, Order { id, rank, size });
        self.say(id, side, "A", rank, size);
    }

    fn cancel(&mut self, side: Side) {
        let orders = &mut self.orders[side as usize];
        let order = orders.remove(self.random.usize(..orders.len()));
        self.say(order.id, side, "C", order.rank, order.size);
    }

    fn modify(&mut self, side: Side) {
        let orders = &mut self.orders[side as usize];
        let which = self.random.usize(..orders.len());
        let order = &mut orders[which];
        order.size = self.random.u32(1..=10);
        let order = *order;
        self.say(order.id, side, "M", order.rank, order.size);
    }

    /// Somebody on `side` takes what the other side offers.
    fn trade(&mut self, side: Side) {
        let mut wanted = self.random.u32(1..=20);
        let (id, resting) = (self.next_order, side.other());
        self.next_order += 1;
        self.say(id, side, "T", 0, 0);
        while wanted > 0 && self.rows.len() < MOST_ROWS {
            let Some(best) = self.orders[resting as usize].last_mut() else { break };
            let filled = wanted.min(best.size);
            let order = *best;
            best.size -= filled;
            if best.size == 0 {
                self.orders[resting as usize].pop();
            }
            wanted -= filled;
            self.say(order.id, resting, "F", order.rank, filled);
            let price = resting.price(order.rank);
            let trade = &mut self.rows[0];
            (trade.price, trade.size) = (price, trade.size + filled);
        }
    }

    fn say(&mut self, order_id: u64, side: Side, action: &'static str, rank: i64, size: u32) {
        self.rows.push(Row { order_id, side, action, price: side.price(rank), size });
    }
}

/// Whether every row of event `number` is as [`Book::event`] made it.
pub fn is_whole(batch: &RecordBatch, number: u64) -> bool {
    let [times, sequences, orders, sides, actions, prices, sizes, sums, ..] = batch.columns()
    else {
        return false;
    };
    let columns = (
        times.as_primitive_opt::<TimestampNanosecondType>(),
        sequences.as_primitive_opt::<UInt64Type>(),
        orders.as_primitive_opt::<UInt64Type>(),
        sides.as_string_opt::<i32>(),
        actions.as_string_opt::<i32>(),
        prices.as_primitive_opt::<Float64Type>(),
        sizes.as_primitive_opt::<UInt32Type>(),
        sums.as_primitive_opt::<UInt64Type>(),
    );
    let (
        Some(times),
        Some(sequences),
        Some(orders),
        Some(sides),
        Some(actions),
        Some(prices),
        Some(sizes),
        Some(sums),
    ) = columns
    else {
        return false;
    };
    (0..batch.num_rows()).all(|row| {
        let letters = [sides.value(row), actions.value(row)];
        sums.value(row)
            == checksum(
                number,
                times.value(row),
                sequences.value(row),
                orders.value(row),
                letters,
                prices.value(row),
                sizes.value(row),
            )
    })
}

/// A sum over all of a row, so that any bit that is not as it was sent shows.
fn checksum(
    event: u64,
    time: i64,
    sequence: u64,
    order_id: u64,
    letters: [&str; 2],
    price: f64,
    size: u32,
) -> u64 {
    let letters = letters.map(|text| text.bytes().fold(1, |sum, byte| sum << 8 | u64::from(byte)));
    [event, time as u64, sequence, order_id, letters[0], letters[1], price.to_bits(), size.into()]
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| {
            (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        })
}
