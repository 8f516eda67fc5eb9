//! The table of `status`: one row for each tunnel, with the columns that fit.

use std::{collections::BTreeMap, time::Duration};

use super::counted;
use crate::supervisor::{Status, local_time};

/// Spaces between two columns.
const GAP: usize = 2;

/// Age in seconds from which a time is shown by its date.
const A_DAY: u64 = 86_400;

/// A column; the order is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Name,
    State,
    Device,
    Local,
    Peer,
    Since,
    In,
    Out,
    Loss,
    RoundTrip,
}

impl Column {
    const ALL: [Self; 10] = [
        Self::Name,
        Self::State,
        Self::Device,
        Self::Local,
        Self::Peer,
        Self::Since,
        Self::In,
        Self::Out,
        Self::Loss,
        Self::RoundTrip,
    ];

    /// The columns that a narrow terminal does without, in this order. Name and state always stay.
    const LEAST_USE: [Self; 8] = [
        Self::Peer,
        Self::Loss,
        Self::RoundTrip,
        Self::Since,
        Self::Out,
        Self::In,
        Self::Local,
        Self::Device,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::State => "STATE",
            Self::Device => "DEV",
            Self::Local => "ADDRESS",
            Self::Peer => "PEER",
            Self::Since => "SINCE",
            Self::In => "IN/s",
            Self::Out => "OUT/s",
            Self::Loss => "LOSS",
            Self::RoundTrip => "RTT",
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::In | Self::Out | Self::Loss | Self::RoundTrip)
    }
}

/// Bytes in a second, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Received through the tunnel.
    pub received: u64,
    /// Sent into the tunnel.
    pub sent: u64,
}

impl Rates {
    /// Returns the rates between two readings of one link; `None` if they are not, or without counters.
    pub fn between(first: &Status, second: &Status, elapsed: Duration) -> Option<Self> {
        let rate = |name: &str| {
            let bytes = second.counters.get(name)?.checked_sub(*first.counters.get(name)?)?;
            let millis = u64::try_from(elapsed.as_millis()).ok().filter(|millis| *millis > 0)?;
            Some(bytes.saturating_mul(1000) / millis)
        };
        if first.since != second.since {
            return None;
        }
        Some(Self { received: rate("ppp.received_bytes")?, sent: rate("ppp.sent_bytes")? })
    }
}

/// One tunnel. A cell that is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(BTreeMap<Column, String>);

impl Row {
    /// Returns the row of a tunnel; `now` is in seconds since 1970.
    pub fn of(status: &Status, rates: Option<Rates>, now: u64) -> Self {
        let mut row = Self::without_status(&status.name, &status.state);
        let mut set = |column, cell: Option<String>| cell.map(|cell| row.0.insert(column, cell));
        set(Column::Device, status.tun.clone());
        set(Column::Local, status.local.map(|address| address.to_string()));
        set(Column::Peer, status.peer.map(|address| address.to_string()));
        set(Column::Since, status.since.and_then(|since| time(since, now)));
        if status.state == "up" {
            set(Column::In, rates.map(|rates| short(rates.received)));
            set(Column::Out, rates.map(|rates| short(rates.sent)));
            set(Column::Loss, counted::loss(status));
            set(Column::RoundTrip, status.round_trip_micros.map(milliseconds));
        }
        row
    }

    /// Returns the row of a tunnel of which only the state is known.
    pub fn without_status(name: &str, state: &str) -> Self {
        let cells = [(Column::Name, name), (Column::State, state)];
        Self(cells.into_iter().map(|(column, cell)| (column, cell.to_owned())).collect())
    }

    fn cell(&self, column: Column) -> &str {
        self.0.get(&column).map_or("-", String::as_str)
    }
}

/// Returns the lines of the table, the titles first. Without a `width` it has all columns.
pub fn render(rows: &[Row], width: Option<usize>) -> Vec<String> {
    let widths: BTreeMap<Column, usize> = Column::ALL
        .into_iter()
        .map(|column| {
            let cells = rows.iter().map(|row| row.cell(column).chars().count());
            (column, cells.max().unwrap_or(0).max(column.title().len()))
        })
        .collect();
    let mut shown = widths.clone();
    for column in Column::LEAST_USE {
        let needed = shown.values().map(|width| width + GAP).sum::<usize>().saturating_sub(GAP);
        if width.is_none_or(|width| needed <= width) {
            break;
        }
        shown.remove(&column);
    }
    let line = |cell: &dyn Fn(Column) -> String| {
        let cells = shown.iter().map(|(column, width)| match column.is_number() {
            true => format!("{:>width$}", cell(*column)),
            false => format!("{:<width$}", cell(*column)),
        });
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let titles = line(&|column| column.title().to_owned());
    let body = rows.iter().map(|row| line(&|column| row.cell(column).to_owned()));
    std::iter::once(titles).chain(body).collect()
}

/// Returns a time as hour and minute, or as month and day if it is a day ago.
fn time(at: u64, now: u64) -> Option<String> {
    let local = local_time::format(at)?;
    let range = if now.saturating_sub(at) < A_DAY { 11..16 } else { 5..10 };
    local.get(range).map(str::to_owned)
}

/// Returns a time in microseconds as milliseconds.
pub fn milliseconds(micros: u64) -> String {
    match micros {
        0..1_000 => "<1 ms".to_owned(),
        _ => format!("{} ms", micros / 1000),
    }
}

/// Returns a number of bytes with at most three digits and a unit.
pub fn short(bytes: u64) -> String {
    let mut whole = bytes;
    let mut tenth = 0;
    for unit in ["", "K", "M", "G", "T"] {
        if whole < 1000 {
            return match unit {
                "" => whole.to_string(),
                _ if whole < 10 => format!("{whole}.{tenth}{unit}"),
                _ => format!("{whole}{unit}"),
            };
        }
        tenth = whole % 1024 * 10 / 1024;
        whole /= 1024;
    }
    format!("{whole}P")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, state: &str) -> Status {
        Status { name: name.to_owned(), state: state.to_owned(), ..Status::default() }
    }

    fn up(received: u64, sent: u64) -> Status {
        let counters = [
            ("ppp.received_bytes", received),
            ("ppp.sent_bytes", sent),
            ("gre.rx_lost", 3),
            ("gre.rx_accepted", 997),
        ];
        Status {
            tun: Some("tun0".into()),
            local: Some("10.77.0.100".parse().unwrap()),
            peer: Some("10.77.0.1".parse().unwrap()),
            since: Some(1_764_000_000),
            round_trip_micros: Some(35_400),
            counters: counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..status("office", "up")
        }
    }

    fn rows() -> [Row; 3] {
        let rates = Rates::between(&up(0, 0), &up(700_000, 600), Duration::from_millis(500));
        let old = 1_764_000_000 + 2 * A_DAY;
        [
            Row::of(&up(0, 0), rates, old),
            Row::of(&status("home", "waiting"), None, old),
            Row::without_status("lab", "down"),
        ]
    }

    #[test]
    fn table_has_a_row_for_each_tunnel() {
        let lines = render(&rows(), None);
        // The day in the host's time zone.
        let day = lines[1].contains("11-25");
        let day = if day { "11-25" } else { "11-24" };
        let expected = "\
NAME    STATE    DEV   ADDRESS      PEER       SINCE  IN/s  OUT/s  LOSS    RTT
office  up       tun0  10.77.0.100  10.77.0.1  DAY..  1.3M   1.1K  0.3%  35 ms
home    waiting  -     -            -          -         -      -     -      -
lab     down     -     -            -          -         -      -     -      -";
        assert_eq!(lines.join("\n"), expected.replace("DAY..", day));
        assert_eq!(render(&[], None), [render(&[], None).concat()], "titles alone");
    }

    #[test]
    fn narrow_table_lacks_the_columns_of_least_use() {
        for width in 20..=120 {
            let lines = render(&rows(), Some(width));
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
        }
        let title = |width| render(&rows(), Some(width)).first().cloned().unwrap();
        assert!(title(80).ends_with("RTT") && title(80).contains("PEER"));
        assert!(!title(70).contains("PEER") && title(70).contains("LOSS"));
        assert_eq!(title(21), "NAME    STATE    DEV");
        assert_eq!(title(5), "NAME    STATE", "name and state stay");
    }

    #[test]
    fn rates_need_two_readings_of_one_link() {
        let second = Duration::from_secs(1);
        let rates = |first: &Status, later: &Status| Rates::between(first, later, second);
        assert_eq!(rates(&up(10, 0), &up(30, 5)), Some(Rates { received: 20, sent: 5 }));
        assert_eq!(rates(&up(30, 0), &up(10, 0)), None, "another engine");
        assert_eq!(rates(&Status { since: Some(1), ..up(10, 0) }, &up(30, 5)), None, "another link");
        assert_eq!(rates(&status("a", "up"), &up(30, 5)), None);
        assert_eq!(Rates::between(&up(1, 1), &up(1, 1), Duration::ZERO), None);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0, 999, 1000, 1024, 10_239, 10_240, 1_023_999, 1_024_000, u64::MAX].map(short);
        assert_eq!(shown, ["0", "999", "0.9K", "1.0K", "9.9K", "10K", "999K", "0.9M", "16383P"]);
        assert_eq!([0, 999, 1_000, 250_999].map(milliseconds), ["<1 ms", "<1 ms", "1 ms", "250 ms"]);
    }
}
