package web

import (
	"strings"

	"ingot/internal/catalog"
)

// archAMIs is what the community's service of Arch Linux AMIs answers at each of its paths (docs/api.md), to the member.
type archAMIs struct {
	AMIs []archAMI `json:"arch_amis"`
}

type archAMI struct {
	AMI          string `json:"ami"`
	Region       string `json:"region"`
	Arch         string `json:"arch"`
	Type         string `json:"type"`          // the kernel
	CreationTime string `json:"creation_time"` // as EC2 writes it
}

const (
	archDistro = "arch"
	ebs        = "ebs"
	ec2Time    = "2006-01-02T15:04:05.000Z"
)

// kernel returns what the service calls the type of an image: ours are named arch-std, arch-lts and arch-ec2.
func kernel(r catalog.Release) string { return strings.TrimPrefix(r.Name, archDistro+"-") }

// arch lists the AMIs that the path's parameters select: those that can be launched, with a root on EBS, as that is
// what the service has. Clients take the first that fits: the newest come first.
func (s *server) arch(r *query) (*answer, error) {
	return s.archList(r, func(catalog.Release, catalog.AMI) bool { return true })
}

// archLatest lists the newest of them for each architecture, kernel and region. A region that the newest release has
// not reached keeps the one before.
func (s *server) archLatest(r *query) (*answer, error) {
	type place struct{ arch, kernel, region string }
	seen := make(map[place]bool)
	return s.archList(r, func(x catalog.Release, a catalog.AMI) bool {
		p := place{x.Arch, kernel(x), a.Region}
		fits := !seen[p] && x.State != catalog.Deprecated
		seen[p] = seen[p] || fits
		return fits
	})
}

func (s *server) archList(r *query, wanted func(catalog.Release, catalog.AMI) bool) (*answer, error) {
	list := archAMIs{[]archAMI{}}
	f := catalog.Filter{Distro: archDistro, Kind: ebs, Live: true, Region: r.PathValue("region"), Arch: r.PathValue("arch")}
	for x, err := range catalog.All(r.Context(), s.store, f) {
		if err != nil {
			return nil, err
		}
		if t := r.PathValue("type"); t != "" && t != kernel(x) {
			continue
		}
		for _, a := range x.AMIs {
			if a.State != catalog.Candidate && wanted(x, a) {
				list.AMIs = append(list.AMIs, archAMI{a.ImageID, a.Region, x.Arch, kernel(x), a.Created.UTC().Format(ec2Time)})
			}
		}
	}
	return asJSON(list)
}
