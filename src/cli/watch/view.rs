//! The picture of `watch`: state in, lines out. No I/O.

use super::{
    facts::remark,
    history::history,
    single::single,
    state::{Notice, Request, State},
    text::{Canvas, Line, Tone},
};
use crate::{
    cli::{
        status::headline_and_failure,
        status_table::{self, Row},
        wrap::broken,
    },
    supervisor::local_time,
};

/// Lines of a remark.
const MOST_SAID: usize = 4;

/// Returns exactly `height` lines of at most `width` columns.
pub fn render(state: &State, canvas: Canvas) -> Vec<Line> {
    let Canvas { width, height, .. } = canvas;
    let said = said(state, width);
    let room = height.saturating_sub(2 + said.len());
    let mut body = match state.current() {
        Some(tunnel) if state.is_single => single(tunnel, state.clock, Canvas { height: room, ..canvas }),
        Some(_) => table(state, Canvas { height: room, ..canvas }),
        None => vec![Line::new(Tone::Plain, without_tunnels(state))],
    };
    body.resize(room, Line::default());
    let all = std::iter::once(title(state, width)).chain(body).chain(said).chain([foot(state, width)]);
    all.take(height).map(|line| line.cut(width)).collect()
}

/// Returns what is said where no tunnel can be shown.
fn without_tunnels(state: &State) -> String {
    match state.asked.as_slice() {
        _ if state.has_read => "no profiles, no tunnels".to_owned(),
        [] => "looking for tunnels".to_owned(),
        [name] => format!("asking {name} for its state"),
        names => format!("asking {} tunnels for their state", names.len()),
    }
}

fn title(state: &State, width: usize) -> Line {
    let left = " pptpctl watch";
    // The time of the reading that is shown.
    let time = local_time::format(state.clock).filter(|_| state.has_read);
    let right = time.unwrap_or_default() + " ";
    let between = width.saturating_sub(left.len() + right.len());
    Line::new(Tone::Chosen, format!("{left}{}{right}", " ".repeat(between)))
}

/// Returns the remark above the keys.
fn said(state: &State, width: usize) -> Vec<Line> {
    let Notice::Says(words) = &state.notice else { return Vec::new() };
    let lines = broken(words, width.saturating_sub(1).max(1), "");
    lines.into_iter().take(MOST_SAID).map(|text| Line::new(Tone::Bold, format!(" {text}"))).collect()
}

fn foot(state: &State, width: usize) -> Line {
    match &state.notice {
        Notice::Asks(request, name) => {
            let question = match request {
                Request::TakeDown => format!("take {name} down?"),
                Request::Redial => format!("dial {name} again?"),
            };
            let text = format!(" {question} y: yes, any other key: no");
            Line::new(Tone::Chosen, format!("{text:<width$}"))
        }
        Notice::None | Notice::Says(_) => {
            let ways = match (state.is_single, state.is_fixed) {
                _ if state.current().is_none() => return Line::new(Tone::Dim, " q: quit"),
                (true, true) => "",
                (true, false) => "Esc: all tunnels   ",
                (false, _) => "Up, Down: choose   Enter: details   ",
            };
            Line::new(Tone::Dim, format!(" {ways}r: dial again   d: down   q: quit"))
        }
    }
}

/// Returns the table of all tunnels, the chosen one marked, and below it what is to be said of that one.
fn table(state: &State, canvas: Canvas) -> Vec<Line> {
    let rows: Vec<Row> = state
        .tunnels
        .iter()
        .map(|tunnel| match &tunnel.answer {
            Ok(status) => Row::of(status, tunnel.rates.back().copied(), state.clock),
            Err((word, _)) => Row::without_status(&tunnel.name, word),
        })
        .collect();
    let mut text = status_table::render(&rows, Some(canvas.width)).into_iter();
    let mut lines = vec![Line::new(Tone::Bold, text.next().unwrap_or_default())];
    // Titles and remark leave so many rows, if the history has a third.
    let room = canvas.height.saturating_sub(4).max(1).min((canvas.height * 2 / 3).max(1));
    let first = (state.chosen + 1).saturating_sub(room);
    let tunnels = state.tunnels.iter().enumerate().zip(text).skip(first).take(room);
    for ((number, tunnel), text) in tunnels {
        let tone = match &tunnel.answer {
            _ if number == state.chosen => Tone::Chosen,
            Ok(status) if status.state == "up" && status.warnings.is_empty() => Tone::Good,
            Ok(_) => Tone::Warning,
            Err(("down", _)) => Tone::Dim,
            Err(_) => Tone::Bad,
        };
        lines.push(Line::new(tone, format!("{text:<width$}", width = canvas.width)));
    }
    lines.push(Line::default());
    if let Some(tunnel) = state.current() {
        let width = canvas.width;
        let words =
            tunnel.answer.as_ref().map_or_else(|_| remark(tunnel), |status| headline_and_failure(status));
        lines.extend(broken(&words, width, "").into_iter().map(|text| Line::new(Tone::Plain, text)));
        lines.push(Line::default());
        let height = canvas.height.saturating_sub(lines.len());
        lines.extend(history(tunnel, state.clock, width, height));
    }
    lines.truncate(canvas.height);
    lines
}

#[cfg(test)]
mod tests {
    use super::{
        super::state::tests::{down, example},
        *,
    };

    fn text(state: &State, width: usize, height: usize) -> String {
        let lines = render(state, Canvas { width, height, unicode: true });
        lines.iter().map(|line| line.plain().trim_end().to_owned() + "\n").collect()
    }

    fn single() -> State {
        State { chosen: 2, is_single: true, ..example() }
    }

    #[test]
    fn table_shows_all_tunnels_and_the_changes_of_the_chosen_one() {
        let state = State { chosen: 2, ..example() };
        for (width, height) in [(80, 24), (200, 50)] {
            let shown = text(&state, width, height);
            println!("{shown}");
            for part in [
                "NAME    STATE    DEV   ADDRESS",
                "\nhome    waiting",
                "\nlab     down",
                "\noffice  up       tun0  10.77.0.100  10.77.0.1",
                "571K    57K  1.2%  35 ms\n",
                "\noffice: up on tun0 for 1 h 2 min, server 198.51.100.5:1723\n",
                "  up again, reconnect 1\n",
                "\nlog\n",
                "  line 99\n",
                " Up, Down: choose   Enter: details   r: dial again   d: down   q: quit",
            ] {
                assert!(shown.contains(part), "{part:?} is missing in\n{shown}");
            }
        }
    }

    #[test]
    fn single_tunnel_has_phases_facts_graphs_and_changes() {
        for (width, height) in [(80, 24), (200, 50)] {
            let shown = text(&single(), width, height);
            println!("{shown}");
            for part in [
                "\nresolve connect control call lcp authentication encryption addresses routes up\n",
                "\naddresses    10.77.0.100 to 10.77.0.1, MTU 1396",
                "\nsecurity     MS-CHAPv2, encryption MPPE 128-bit stateless",
                "\nDNS          10.77.0.53 for corp.example, by systemd-resolved",
                "\nroutes       10.0.0.0/16, 10.1.0.0/16, ",
                " more",
                "\npath         round trip 35 ms; 12 lost (1.2%), 7 reordered, 1 duplicate",
                "\ndropped      loop 2",
                "no answer to 4 LCP echoes",
                "\nin 571K/s, at most 571K/s in ",
                "out 57K/s, at most 57K/s in ",
                "█",
                "changes",
                "  up again, reconnect 1",
                "log\n",
                "  line 99\n",
                " Esc: all tunnels   r: dial again   d: down   q: quit\n",
            ] {
                assert!(shown.contains(part), "{part:?} is missing at {width} × {height} in\n{shown}");
            }
            // The long line before the last one has no room on the small screen.
            assert_eq!(shown.contains("the server does not answer"), height == 50, "{shown}");
        }
    }

    #[test]
    fn every_size_is_filled_exactly() {
        let mut many = example();
        many.chosen = 1;
        let mut asks = single();
        asks.notice = Notice::Asks(Request::Redial, "office".into());
        let fixed = State { is_fixed: true, ..single() };
        for state in [State::default(), example(), single(), many, asks, fixed] {
            for (width, height) in (1..=90)
                .chain([119, 120, 121, 200])
                .flat_map(|width| [1, 2, 3, 5, 10, 24, 50].map(|height| (width, height)))
            {
                for unicode in [true, false] {
                    let lines = render(&state, Canvas { width, height, unicode });
                    assert_eq!(lines.len(), height, "{width} × {height}");
                    assert!(lines.iter().all(|line| line.width() <= width), "{width} × {height}: {lines:#?}");
                    let ascii = lines.iter().all(|line| line.plain().is_ascii());
                    assert!(unicode || ascii, "{lines:#?}");
                }
            }
        }
    }

    #[test]
    fn chosen_tunnel_stays_in_sight() {
        let mut state = State::default();
        let answers = (0..60).map(|number| down(&format!("n{number:02}"))).collect();
        state.read(super::super::state::Reading {
            at: std::time::Instant::now(),
            clock: 1,
            answers,
            log: None,
        });
        for chosen in [0, 11, 12, 17, 18, 40, 59] {
            state.chosen = chosen;
            let shown = text(&state, 80, 24);
            assert!(shown.contains(&format!("\nn{chosen:02}   down ")), "{shown}");
        }
    }

    #[test]
    fn large_screen_has_two_columns_and_longer_graphs() {
        let shown = text(&single(), 200, 50);
        let facts = shown.lines().find(|line| line.starts_with("addresses ")).unwrap();
        assert!(facts.contains(" │ "), "the log is beside the facts:\n{shown}");
        assert!(shown.contains("in 571K/s, at most 571K/s in 59 s"), "{shown}");
        let empty = shown.lines().filter(|line| line.is_empty()).count();
        assert!(empty < 4, "{empty} empty lines:\n{shown}");
        let rows = |name: &str| shown.lines().position(|line| line.starts_with(name)).unwrap();
        assert!(rows("out ") >= rows("in ") + 5, "one graph above the other:\n{shown}");
    }

    #[test]
    fn waiting_tunnel_has_its_server_and_no_empty_graphs() {
        for (width, height) in [(80, 24), (200, 50)] {
            let mut state = State { chosen: 0, is_single: true, ..example() };
            if let Ok(status) = &mut state.tunnels[0].answer {
                status.server = Some("198.51.100.5:1723".into());
            }
            let shown = text(&state, width, height);
            assert!(shown.contains("\nserver       198.51.100.5:1723"), "{shown}");
            assert!(!shown.contains("/s, at most"), "{shown}");
        }
    }

    #[test]
    fn keys_that_do_nothing_are_not_offered() {
        let shown = text(&State { is_fixed: true, ..single() }, 80, 24);
        assert!(shown.contains("\n r: dial again   d: down   q: quit\n"), "{shown}");
        let shown = text(&State { has_read: true, ..State::default() }, 80, 24);
        assert!(shown.contains("no profiles, no tunnels\n") && shown.ends_with("\n q: quit\n"), "{shown}");
    }

    #[test]
    fn first_screen_says_that_it_asks() {
        for (asked, words) in [
            (&["office"][..], "asking office for its state"),
            (&["home", "office"], "asking 2 tunnels for their state"),
            (&[], "looking for tunnels"),
        ] {
            let asked = asked.iter().map(|name| (*name).to_owned()).collect();
            let shown = text(&State { asked, ..State::default() }, 80, 24);
            let lines: Vec<_> = shown.lines().filter(|line| !line.is_empty()).collect();
            assert_eq!(lines, [" pptpctl watch", words, " q: quit"], "no time, and no other keys");
        }
    }

    #[test]
    fn remark_is_above_the_keys() {
        let why = "the server does not answer ".repeat(5);
        let shown = text(&State { notice: Notice::Says(why), ..single() }, 80, 24);
        assert!(shown.contains("\n the server does not answer the server"), "{shown}");
        assert!(
            shown.ends_with(" does not answer\n Esc: all tunnels   r: dial again   d: down   q: quit\n"),
            "{shown}"
        );
    }

    #[test]
    fn losses_are_absent_where_the_kernel_does_not_count_them() {
        let mut state = single();
        for tunnel in &mut state.tunnels {
            if let Ok(status) = &mut tunnel.answer {
                status.data_path = Some("kernel".into());
            }
        }
        let shown = text(&state, 80, 24);
        assert!(
            shown.contains("path         round trip 35 ms; losses are not counted by the kernel\n"),
            "{shown}"
        );
        assert!(!shown.contains("reordered"), "{shown}");
        state.is_single = false;
        let shown = text(&state, 80, 24);
        assert!(shown.contains("57K     -  35 ms\n"), "{shown}");
    }
}
