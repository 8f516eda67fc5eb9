//! The configuration of ppp(8): ppp.conf, ppp.linkup and ppp.linkdown, and the lines of an rc file that start it.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{
    draft::{Origin, Tunnel, shown},
    ppp_commands::{Command, Ppp},
    ppp_start::{self, Start},
    sources::{Source, Sources, Unread, root_of, within},
    words,
};

/// The deepest `!include` or `load`.
const MAX_DEPTH: u32 = 8;
/// The most commands of one label, with those of the labels that it loads.
const MAX_COMMANDS: usize = 4096;
/// The most commands of all tunnels: a label that many others load counts for each.
const MAX_ALL_COMMANDS: usize = 65_536;
/// The most tunnels.
const MAX_TUNNELS: usize = 256;

/// A label and its commands.
pub struct Section {
    label: String,
    origin: Origin,
    commands: Vec<Command>,
}

/// Which of the three files a source is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Conf,
    LinkUp,
    LinkDown,
    Start,
}

/// Reads the files of ppp(8) that were named, and ppp.linkup and ppp.linkdown beside them; returns a tunnel for each
/// label that runs pptp(8), and remarks about none of them.
#[must_use]
pub fn tunnels(named: &[Source], sources: &Sources<'_>) -> (Vec<Tunnel>, Vec<String>) {
    let mut remarks = Vec::new();
    let mut files: Vec<(Role, Source)> = named.iter().map(|source| (role(source), source.clone())).collect();
    for (role, name) in [(Role::LinkUp, "ppp.linkup"), (Role::LinkDown, "ppp.linkdown")] {
        if files.iter().any(|(has, _)| *has == role) {
            continue;
        }
        let conf = files.iter().find(|(role, source)| *role == Role::Conf && &*source.path != "-");
        let Some(path) = conf.map(|(_, source)| source.as_path().with_file_name(name)) else { continue };
        match sources.read(&path) {
            Ok(source) => files.push((role, source)),
            Err(Unread::Missing) => {}
            Err(Unread::Failed(why)) => remarks.push(format!("cannot read {}: {why}", path.display())),
        }
    }
    let of = |role: Role, remarks: &mut Vec<String>| {
        let chosen = files.iter().filter(move |(has, _)| *has == role);
        chosen.flat_map(|(_, source)| sections(source, sources, 0, remarks)).collect::<Vec<_>>()
    };
    let (conf, up, down) =
        (of(Role::Conf, &mut remarks), of(Role::LinkUp, &mut remarks), of(Role::LinkDown, &mut remarks));
    let starts: Vec<Start> = files
        .iter()
        .filter(|(role, _)| *role == Role::Start)
        .flat_map(|(_, source)| ppp_start::read(source))
        .collect();
    let root = files.first().map(|(_, source)| root_of(source.as_path(), "etc/ppp")).unwrap_or_default();
    let file = |path: &str| within(&root, path).and_then(|path| sources.read(&path).ok());
    let mut tunnels = Vec::new();
    let [names, up, down] = [&conf, &up, &down].map(|sections| Labels::new(sections));
    let (mut seen, mut left) = (BTreeSet::from(["default"]), MAX_ALL_COMMANDS);
    for label in conf.iter().map(|section| section.label.as_str()) {
        // Sections with the same label are one.
        if !seen.insert(label) {
            continue;
        }
        if left == 0 || tunnels.len() == MAX_TUNNELS {
            remarks
                .push(format!("too many labels and commands: `{}` and others were not read", shown(label)));
            break;
        }
        let mut ppp = Ppp::new(label, &file);
        let mut commands = names.commands(&["default", label], &mut left, &mut ppp.tunnel);
        commands.iter().for_each(|command| ppp.command(command));
        if !ppp.runs_pptp {
            continue;
        }
        for (labels, is_up) in [(&up, true), (&down, false)] {
            let label = if labels.0.contains_key(label) { label } else { "MYADDR" };
            commands = labels.commands(&[label], &mut left, &mut ppp.tunnel);
            for command in &commands {
                ppp.link_command(command, is_up);
            }
        }
        match starts.iter().find(|start| start.labels.iter().any(|started| started == label)) {
            Some(start) => ppp.start(start),
            None => ppp.tunnel.note(
                "how ppp is started (-ddial, -unit) is in no file that was read: name the one that starts it too, such \
                 as /etc/rc.local or /etc/rc.conf",
            ),
        }
        tunnels.push(ppp.finish());
    }
    if tunnels.is_empty() {
        remarks.push("no label of ppp.conf has `set device \"!pptp …\"`".to_owned());
    }
    (tunnels, remarks)
}

fn role(source: &Source) -> Role {
    match source.as_path().file_name().and_then(|name| name.to_str()) {
        Some("ppp.linkup") => Role::LinkUp,
        Some("ppp.linkdown") => Role::LinkDown,
        _ if is_conf(&source.text) => Role::Conf,
        _ => Role::Start,
    }
}

/// Returns whether a text is a ppp.conf(5) with pptp(8): a label, and a device that runs it.
#[must_use]
pub fn is_conf(text: &str) -> bool {
    let has_label = text.lines().any(|line| label(line).is_some());
    let device = |line: &str| {
        let mut all = line.split_whitespace();
        all.next() == Some("set") && matches!(all.next(), Some("device" | "line")) && line.contains('!')
    };
    has_label && text.lines().any(device)
}

/// Returns the label that a line begins.
fn label(line: &str) -> Option<&str> {
    let name = line.trim_end().strip_suffix(':')?;
    let is_label =
        !name.is_empty() && !name.starts_with([' ', '\t', '#', '!']) && !name.contains([' ', '\t']);
    is_label.then_some(name)
}

fn sections(source: &Source, sources: &Sources<'_>, depth: u32, remarks: &mut Vec<String>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        let origin = Origin::new(&source.path, number);
        if let Some(name) = label(line) {
            sections.push(Section { label: name.to_owned(), origin, commands: Vec::new() });
            continue;
        }
        if let Some(path) = line.strip_prefix("!include") {
            sections.extend(include(path.trim(), source, sources, depth, remarks));
            continue;
        }
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(section) = sections.last_mut() {
            section.commands.push(Command { text: text.to_owned(), origin });
        }
    }
    sections
}

fn include(
    path: &str,
    from: &Source,
    sources: &Sources<'_>,
    depth: u32,
    remarks: &mut Vec<String>,
) -> Vec<Section> {
    let path = words::line(path).into_iter().next().unwrap_or_default();
    let found = within(&root_of(from.as_path(), "etc/ppp"), &path);
    let Some(found) = found.filter(|_| depth < MAX_DEPTH) else {
        remarks.push(format!("{}: an !include was not read", from.path));
        return Vec::new();
    };
    match sources.read(&found) {
        Ok(source) => self::sections(&source, sources, depth + 1, remarks),
        Err(_) => {
            remarks.push(format!("{}: cannot read the included {}", from.path, found.display()));
            Vec::new()
        }
    }
}

/// Sections by their label.
struct Labels<'s>(BTreeMap<&'s str, Vec<&'s Section>>);

impl<'s> Labels<'s> {
    fn new(sections: &'s [Section]) -> Self {
        let mut labels = BTreeMap::<_, Vec<_>>::new();
        for section in sections {
            labels.entry(section.label.as_str()).or_default().push(section);
        }
        Self(labels)
    }

    /// Returns the commands of these labels, with those of the labels that they load in their places, as many as are
    /// left of all and at most [`MAX_COMMANDS`]. A longer list is cut, with a remark.
    fn commands(&self, labels: &[&str], left_of_all: &mut usize, tunnel: &mut Tunnel) -> Vec<Command> {
        let (mut all, most) = (Vec::new(), MAX_COMMANDS.min(*left_of_all));
        let mut left = most;
        let whole = labels.iter().all(|label| self.collect(label, 0, &mut left, &mut all));
        *left_of_all -= most - left;
        if !whole {
            tunnel.note(format!("more than {most} commands: the rest was not read"));
        }
        all
    }

    /// Adds the commands of a label while some are left. A `load` counts too, since the label may have none. Returns
    /// whether enough were left.
    fn collect(&self, label: &str, depth: u32, left: &mut usize, all: &mut Vec<Command>) -> bool {
        let sections = self.0.get(label).map(Vec::as_slice).unwrap_or_default();
        for command in sections.iter().flat_map(|section| &section.commands) {
            let Some(rest) = left.checked_sub(1) else { return false };
            *left = rest;
            let loaded = command.text.strip_prefix("load").filter(|rest| rest.starts_with([' ', '\t']));
            match loaded {
                Some(names) if depth < MAX_DEPTH => {
                    let mut names = names.split_whitespace().take(8);
                    if !names.all(|name| self.collect(name, depth + 1, left, all)) {
                        return false;
                    }
                }
                _ => all.push(command.clone()),
            }
        }
        true
    }
}

/// Returns the labels of a ppp.conf that run pptp(8), with the line of each, for the list of what can be imported.
#[must_use]
pub fn labels(text: &str, path: &Rc<str>) -> Vec<(String, Origin)> {
    let source = Source { path: Rc::clone(path), text: text.into() };
    let nothing = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let found = sections(&source, &Sources::new(&nothing), MAX_DEPTH, &mut Vec::new());
    let runs = |section: &Section| {
        section.commands.iter().any(|command| {
            let all = words::line(&command.text);
            matches!(all.as_slice(), [set, device, command, ..] if set == "set" && device == "device"
                && words::line(command.trim_start_matches('!')).iter().any(|word| words::base(word) == "pptp"))
        })
    };
    found.into_iter().filter(runs).map(|section| (section.label, section.origin)).collect()
}
