//! "Did you mean …?": the known word nearest to a mistyped one.

/// Words that other virtual machine monitors use for keys of ours.
const OTHER_NAMES: [(&str, &str); 29] = [
    ("ram", "memory"),
    ("mem", "memory"),
    ("vcpu", "cpu"),
    ("vcpus", "count"),
    ("cpus", "count"),
    ("dies", "sockets"),
    ("bios", "firmware"),
    ("ovmf", "firmware"),
    ("loader", "code"),
    ("nvram", "vars"),
    ("template", "vars_template"),
    ("drive", "disk"),
    ("file", "path"),
    ("append", "cmdline"),
    ("clock", "rtc"),
    ("ro", "readonly"),
    ("gpu", "dgpu"),
    ("nvidia", "dgpu"),
    ("hostdev", "vfio"),
    ("intel", "igpu"),
    ("vgpu", "igpu"),
    ("xres", "resolution"),
    ("yres", "resolution"),
    ("pci", "vfio"),
    ("address", "guest"),
    ("managed", "manage"),
    ("romfile", "rom"),
    ("vbios", "rom"),
    ("iommu", "vfio_backend"),
];

/// The candidate that `word` is most likely a slip for, if any is near.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let other_name = OTHER_NAMES.iter().find(|(other, _)| *other == word).map(|(_, ours)| *ours);
    // One slip per three letters, at least one: more would find a neighbour for everything.
    let length = word.chars().count();
    let allowed = (length / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            if other_name == Some(candidate) {
                return Some((0, candidate));
            }
            let spelled = candidate.to_ascii_lowercase().replace('-', "_");
            // At least so many slips as one is longer, which spares most of the work: a file may have thousands of these.
            let near = length.abs_diff(spelled.chars().count()) <= allowed;
            let distance = near.then(|| strsim::damerau_levenshtein(&word, &spelled));
            if let Some(distance) = distance.filter(|distance| *distance <= allowed) {
                Some((distance, candidate))
            } else if word.len() >= 3 && (spelled.starts_with(&word) || word.starts_with(&spelled)) {
                Some((allowed, candidate))
            } else {
                None
            }
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
