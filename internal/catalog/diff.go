package catalog

// Diff is how the packages of two releases differ, each list by name and architecture.
type Diff struct {
	Added   []Package       `json:"added"`
	Removed []Package       `json:"removed"`
	Changed []VersionChange `json:"changed"`
}

// VersionChange is a package that both releases have.
type VersionChange struct {
	Name string `json:"name"`
	Arch string `json:"arch"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Empty says that the packages are the same.
func (d Diff) Empty() bool { return len(d.Added)+len(d.Removed)+len(d.Changed) == 0 }

// Compare says what became of the packages from one release to another, as Get returns them.
func Compare(from, to []Package) Diff {
	d := Diff{[]Package{}, []Package{}, []VersionChange{}} // JSON has lists, not null
	for len(from)+len(to) > 0 {
		var order int
		switch {
		case len(from) == 0:
			order = 1
		case len(to) == 0:
			order = -1
		default:
			order = compare(from[0].Name, to[0].Name, from[0].Arch, to[0].Arch)
		}
		switch {
		case order < 0:
			d.Removed, from = append(d.Removed, from[0]), from[1:]
		case order > 0:
			d.Added, to = append(d.Added, to[0]), to[1:]
		default:
			if from[0].Version != to[0].Version {
				d.Changed = append(d.Changed, VersionChange{to[0].Name, to[0].Arch, from[0].Version, to[0].Version})
			}
			from, to = from[1:], to[1:]
		}
	}
	return d
}
