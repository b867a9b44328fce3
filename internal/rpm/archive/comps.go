package archive

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"ingot/internal/compress"
	"ingot/internal/fault"
)

// maxComps bounds a file of groups, in bytes; that of CentOS 6.8 has 1.3 MB.
const maxComps = 16 << 20

// Group is a group of a repository's comps.xml: names of packages, which may not exist.
type Group struct {
	ID, Name    string
	Mandatory   []string
	Default     []string
	Optional    []string
	Conditional []Conditional
}

// Conditional is a package that belongs to a group where another one is installed.
type Conditional struct{ Name, Requires string }

// ReadGroups reads comps.xml, compressed or not.
func ReadGroups(in io.Reader) ([]Group, error) {
	z, err := compress.Reader(in, maxComps)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	var comps struct {
		Groups []struct {
			ID    string `xml:"id"`
			Names []struct {
				Lang string `xml:"lang,attr"`
				Text string `xml:",chardata"`
			} `xml:"name"`
			Packages []struct {
				Type     string `xml:"type,attr"`
				Requires string `xml:"requires,attr"`
				Name     string `xml:",chardata"`
			} `xml:"packagelist>packagereq"`
		} `xml:"group"`
	}
	if err := xml.NewDecoder(z).Decode(&comps); err != nil {
		return nil, input(fmt.Errorf("reading groups: %w", err))
	}
	all := make([]Group, 0, len(comps.Groups))
	for _, g := range comps.Groups {
		out := Group{ID: strings.TrimSpace(g.ID)}
		for _, n := range g.Names {
			if n.Lang == "" {
				out.Name = n.Text
			}
		}
		for _, p := range g.Packages {
			switch name := strings.TrimSpace(p.Name); p.Type {
			case "mandatory", "":
				out.Mandatory = append(out.Mandatory, name)
			case "default":
				out.Default = append(out.Default, name)
			case "optional":
				out.Optional = append(out.Optional, name)
			case "conditional":
				out.Conditional = append(out.Conditional, Conditional{name, p.Requires})
			default:
				return nil, fault.Newf(fault.Input, "reading groups: group %s has %q as %q, which is unknown", out.ID, name, p.Type)
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// packages returns the names that installing the group asks for: mandatory and default ones, optional ones on
// demand, and conditional ones whose condition is among the names of the request.
func (g *Group) packages(optional bool, asked []string) []string {
	all := slices.Concat(g.Mandatory, g.Default)
	if optional {
		all = append(all, g.Optional...)
	}
	for _, c := range g.Conditional {
		if slices.Contains(all, c.Requires) || slices.Contains(asked, c.Requires) {
			all = append(all, c.Name)
		}
	}
	return all
}
