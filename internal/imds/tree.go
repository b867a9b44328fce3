package imds

import (
	"slices"
	"strconv"
	"strings"
)

// versions are the dated trees beside latest, oldest first. Each shows the entries that existed by then.
var versions = []string{
	"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
	"2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20",
	"2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01",
	"2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11",
}

// entry is a leaf of the tree.
type entry struct {
	since string // the first version that has it
	value string
}

// entries returns the leaves below meta-data, by path; leaves without a value are left out.
func (i Instance) entries() map[string]entry {
	all := map[string]entry{}
	add := func(since, path, value string) {
		if value != "" {
			all[path] = entry{since, value}
		}
	}
	add("1.0", "ami-id", i.ImageID)
	add("1.0", "ami-launch-index", strconv.Itoa(i.LaunchIndex))
	add("1.0", "ami-manifest-path", i.ManifestPath)
	add("1.0", "hostname", i.Hostname)
	add("1.0", "instance-id", i.ID)
	add("1.0", "local-ipv4", i.LocalIPv4)
	add("1.0", "reservation-id", i.ReservationID)
	add("1.0", "security-groups", strings.Join(i.SecurityGroups, "\n"))
	add("2007-01-19", "local-hostname", i.Hostname)
	add("2007-08-29", "instance-type", i.Type)
	add("2007-12-15", "block-device-mapping/ami", i.RootDevice)
	add("2007-12-15", "block-device-mapping/root", i.RootDevice)
	for virtual, device := range i.BlockDevices {
		add("2007-12-15", "block-device-mapping/"+virtual, device)
	}
	add("2007-03-01", "product-codes", strings.Join(i.ProductCodes, "\n"))
	add("2007-10-10", "ancestor-ami-ids", strings.Join(i.Ancestors, "\n"))
	add("2008-02-01", "kernel-id", i.KernelID)
	add("2008-02-01", "ramdisk-id", i.RamdiskID)
	add("2008-02-01", "placement/availability-zone", i.AZ)
	add("2008-09-01", "instance-action", "none")
	add("2011-01-01", "mac", i.MAC)
	add("2011-05-01", "metrics/vhostmd", `<?xml version="1.0" encoding="UTF-8"?>`)
	add("2014-02-25", "services/domain", i.domain())
	add("2015-10-20", "services/partition", i.partition())
	add("2018-08-17", "events/maintenance/history", "[]")
	add("2018-08-17", "events/maintenance/scheduled", "[]")
	add("2019-10-01", "instance-life-cycle", i.Lifecycle)
	add("2020-10-27", "placement/availability-zone-id", i.ZoneID())
	add("2020-10-27", "placement/region", i.Region)
	add("2022-09-24", "system", "nitro")
	if i.PublicIPv4 != "" {
		add("2007-01-19", "public-ipv4", i.PublicIPv4)
		add("2007-01-19", "public-hostname", i.publicName())
	}
	if i.PublicKey != "" {
		add("1.0", "public-keys/0/openssh-key", strings.TrimSpace(i.PublicKey)+"\n")
	}
	if i.TagsInMetadata {
		for name, value := range i.Tags {
			all["tags/instance/"+name] = entry{"2021-03-23", value}
		}
	}
	if i.MAC != "" {
		i.addInterface(add)
	}
	return all
}

// addInterface adds the instance's only network interface.
func (i Instance) addInterface(add func(since, path, value string)) {
	dir := "network/interfaces/macs/" + i.MAC + "/"
	for path, value := range map[string]string{
		"device-number":          "0",
		"interface-id":           i.InterfaceID,
		"local-hostname":         i.Hostname,
		"local-ipv4s":            i.LocalIPv4,
		"mac":                    i.MAC,
		"owner-id":               i.AccountID,
		"security-group-ids":     strings.Join(i.GroupIDs, "\n"),
		"security-groups":        strings.Join(i.SecurityGroups, "\n"),
		"subnet-id":              i.SubnetID,
		"subnet-ipv4-cidr-block": i.Subnet,
		"vpc-id":                 i.VPCID,
		"vpc-ipv4-cidr-block":    i.Subnet,
	} {
		add("2011-01-01", dir+path, value)
	}
	add("2016-06-30", dir+"vpc-ipv4-cidr-blocks", i.Subnet)
	if i.PublicIPv4 != "" {
		add("2011-01-01", dir+"public-ipv4s", i.PublicIPv4)
		add("2011-01-01", dir+"public-hostname", i.publicName())
		add("2011-01-01", dir+"ipv4-associations/"+i.PublicIPv4, i.LocalIPv4)
	}
}

// tree is one version's metadata: texts by path, and the listings of the directories above them.
type tree struct {
	leaves map[string]string
	dirs   map[string][]string // names as listed, sorted; directories end in a slash
}

// newTree builds the tree of one version from leaves by path.
func newTree(leaves map[string]string) tree {
	t := tree{leaves, map[string][]string{}}
	for path := range leaves {
		name := path
		for {
			slash := strings.LastIndexByte(strings.TrimSuffix(name, "/"), '/')
			dir, base := name[:slash+1], name[slash+1:]
			if slices.Contains(t.dirs[dir], base) {
				break
			}
			t.dirs[dir] = append(t.dirs[dir], base)
			if name = dir; name == "" {
				break
			}
		}
	}
	for _, names := range t.dirs {
		slices.Sort(names)
	}
	return t
}

// get returns the text at a path: a leaf's value or a directory's listing, with or without its slash.
func (t tree) get(path string) (string, bool) {
	if value, ok := t.leaves[path]; ok {
		return value, true
	}
	if path != "" {
		path = strings.TrimSuffix(path, "/") + "/"
	}
	names, ok := t.dirs[path]
	return strings.Join(names, "\n"), ok
}
