//! The command line of pptp(8), which pppd(8) and ppp(8) run on a pty.

use super::{
    draft::{Origin, Tunnel, Value, named},
    words,
};

/// Reads a command if it runs pptp(8); returns whether it does.
pub fn read(command: &str, origin: &Origin, tunnel: &mut Tunnel) -> bool {
    let all = words::line(command);
    let Some(at) = all.iter().take(8).position(|word| words::base(word) == "pptp") else { return false };
    let mut rest = all.iter().skip(at + 1).map(String::as_str);
    while let Some(word) = rest.next() {
        if words::needs_shell(word) {
            tunnel.left_out(origin, "pptp …", "the rest of the command needs a shell, which is not run");
            break;
        }
        let Some(option) = word.strip_prefix("--") else {
            if tunnel.has("server") {
                tunnel.left_out(origin, "pptp … (options of pppd)", "pptp passes them on to pppd itself");
                break;
            }
            tunnel.set("server", word, origin);
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let mut value = || value.or_else(|| rest.next());
        read_option(name, &mut value, origin, tunnel);
    }
    true
}

fn read_option<'a>(
    name: &str,
    value: &mut impl FnMut() -> Option<&'a str>,
    origin: &Origin,
    tunnel: &mut Tunnel,
) {
    let mut text = |key, tunnel: &mut Tunnel, form: fn(&str) -> Option<Value>| match value() {
        Some(text) => match form(text) {
            Some(value) => tunnel.set(key, value, origin),
            None => tunnel.left_out(origin, &format!("--{name}"), "its value is not a number in range"),
        },
        None => tunnel.left_out(origin, &format!("--{name}"), "it has no value"),
    };
    match name {
        "phone" => text("phone", tunnel, |text| Some(Value::from(text))),
        "quirks" => text("quirks", tunnel, |text| Some(Value::from(text))),
        "localbind" => text("localbind", tunnel, |text| Some(Value::from(text))),
        "logstring" => text("logstring", tunnel, |text| Some(Value::from(text))),
        "loglevel" => text("loglevel", tunnel, |text| text.parse::<u32>().ok().map(Value::from)),
        "missing-window" => text("missing-window", tunnel, |text| text.parse::<u32>().ok().map(Value::from)),
        "timeout" => text("timeouts.reorder", tunnel, milliseconds),
        "nobuffer" => tunnel.set("timeouts.reorder", "off", origin),
        "idle-wait" => text("timeouts.idle-wait", tunnel, |text| match text.parse::<u32>().ok()? {
            0 => Some(Value::from("off")),
            seconds => Some(Value::Text(format!("{seconds}s"))),
        }),
        "max-echo-wait" => text("timeouts.max-echo-wait", tunnel, |text| {
            Some(Value::Text(format!("{}s", text.parse::<u32>().ok()?)))
        }),
        "nolaunchpppd" | "sync" | "debug" | "nohostroute" => tunnel.needless(&format!("--{name}")),
        "rtmark" | "test-type" | "test-rate" => {
            let _value = value();
            tunnel.left_out(origin, &format!("--{name}"), "pptpctl has no such setting");
        }
        other => tunnel.left_out(origin, &format!("--{}", named(other)), "this option of pptp is not known"),
    }
}

/// Reads seconds with a fraction, as `--timeout` has them.
fn milliseconds(text: &str) -> Option<Value> {
    let seconds: f64 = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds))?;
    let time = std::time::Duration::from_secs_f64(seconds);
    Some(Value::Text(format!("{}ms", time.as_millis())))
}
