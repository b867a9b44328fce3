package region

import (
	"slices"
	"strings"

	"ingot/internal/imds"
)

// awsRegion is a region of AWS.
type awsRegion struct {
	name  string
	optIn bool // an account must opt in to it before use
}

// partition returns the partition that a region is in: accounts and credentials of one mean nothing in another.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

func (a *area) partition() string { return partition(a.name) }

// awsRegions are the regions of the partitions aws, aws-cn and aws-us-gov (November 2026), from the EC2 User Guide, "Regions and zones".
var awsRegions = []awsRegion{
	{"af-south-1", true}, {"ap-east-1", true}, {"ap-east-2", true}, {"ap-northeast-1", false},
	{"ap-northeast-2", false}, {"ap-northeast-3", false}, {"ap-south-1", false}, {"ap-south-2", true},
	{"ap-southeast-1", false}, {"ap-southeast-2", false}, {"ap-southeast-3", true}, {"ap-southeast-4", true},
	{"ap-southeast-5", true}, {"ap-southeast-6", true}, {"ap-southeast-7", true}, {"ca-central-1", false},
	{"ca-west-1", true}, {"cn-north-1", false}, {"cn-northwest-1", false}, {"eu-central-1", false}, {"eu-central-2", true}, {"eu-north-1", false},
	{"eu-south-1", true}, {"eu-south-2", true}, {"eu-west-1", false}, {"eu-west-2", false}, {"eu-west-3", false},
	{"il-central-1", true}, {"me-central-1", true}, {"me-south-1", true}, {"mx-central-1", true},
	{"sa-east-1", false}, {"us-east-1", false}, {"us-east-2", false}, {"us-gov-east-1", false}, {"us-gov-west-1", false}, {"us-west-1", false}, {"us-west-2", false},
}

func defaultRegions() []string {
	var names []string
	for _, r := range awsRegions {
		if !r.optIn && partition(r.name) == "aws" {
			names = append(names, r.name)
		}
	}
	return names
}

func known(name string) bool {
	return slices.ContainsFunc(awsRegions, func(r awsRegion) bool { return r.name == name })
}

// domains are those of the endpoints of a partition.
var domains = map[string]string{"aws": "amazonaws.com", "aws-cn": "amazonaws.com.cn", "aws-us-gov": "amazonaws.com"}

type describeRegionsIn struct {
	dryRun
	Filters    []filter `q:"Filter"`
	Names      []string `q:"RegionName"`
	AllRegions bool     `q:"AllRegions"`
}

type regionXML struct {
	Name     string `xml:"regionName"`
	Endpoint string `xml:"regionEndpoint"`
	OptIn    string `xml:"optInStatus"`
}

type describeRegionsOut struct {
	reply
	Regions list[regionXML] `xml:"regionInfo"`
}

func (r regionXML) attr(name string) ([]string, bool) {
	switch name {
	case "region-name":
		return []string{r.Name}, true
	case "endpoint":
		return []string{r.Endpoint}, true
	case "opt-in-status":
		return []string{r.OptIn}, true
	}
	return nil, false
}

func (a *area) describeRegions(in *describeRegionsIn) (*describeRegionsOut, error) {
	if err := in.dry(); err != nil {
		return nil, err
	}
	out := &describeRegionsOut{}
	for _, name := range in.Names {
		if !known(name) || partition(name) != a.partition() {
			return nil, errorf("InvalidParameterValue", "Invalid region provided: [%s]", name)
		}
	}
	for _, r := range awsRegions {
		if partition(r.name) != a.partition() {
			continue
		}
		x := regionXML{r.name, "ec2." + r.name + "." + domains[a.partition()], "opt-in-not-required"}
		if enabled := a.r.areas[r.name] != nil; r.optIn && enabled {
			x.OptIn = "opted-in"
		} else if r.optIn {
			x.OptIn = "not-opted-in"
		} else if !enabled {
			continue // a default region that this server was told not to have
		}
		named := len(in.Names) == 0 && (in.AllRegions || x.OptIn != "not-opted-in") || slices.Contains(in.Names, r.name)
		ok, err := match(in.Filters, x.attr)
		if err != nil {
			return nil, err
		}
		if named && ok {
			out.Regions.Items = append(out.Regions.Items, x)
		}
	}
	return out, nil
}

type describeZonesIn struct {
	dryRun
	Filters []filter `q:"Filter"`
	Names   []string `q:"ZoneName"`
	IDs     []string `q:"ZoneId"`
	All     bool     `q:"AllAvailabilityZones"`
}

type zoneXML struct {
	State  string `xml:"zoneState"`
	OptIn  string `xml:"optInStatus"`
	Region string `xml:"regionName"`
	Name   string `xml:"zoneName"`
	ID     string `xml:"zoneId"`
	Group  string `xml:"groupName"`
	Border string `xml:"networkBorderGroup"`
	Type   string `xml:"zoneType"`
}

type describeZonesOut struct {
	reply
	Zones list[zoneXML] `xml:"availabilityZoneInfo"`
}

func (z zoneXML) attr(name string) ([]string, bool) {
	v, ok := map[string]string{"state": z.State, "opt-in-status": z.OptIn, "region-name": z.Region, "zone-name": z.Name,
		"zone-id": z.ID, "group-name": z.Group, "zone-type": z.Type}[name]
	return []string{v}, ok
}

func (a *area) describeZones(in *describeZonesIn) (*describeZonesOut, error) {
	if err := in.dry(); err != nil {
		return nil, err
	}
	out := &describeZonesOut{}
	zones := a.zones()
	for _, want := range append(in.Names, in.IDs...) {
		if !slices.ContainsFunc(zones, func(z zoneXML) bool { return z.Name == want || z.ID == want }) {
			return nil, errorf("InvalidParameterValue", "Invalid availability zone: [%s]", want)
		}
	}
	for _, z := range zones {
		ok, err := match(in.Filters, z.attr)
		if err != nil {
			return nil, err
		}
		if ok && has(in.Names, z.Name) && has(in.IDs, z.ID) {
			out.Zones.Items = append(out.Zones.Items, z)
		}
	}
	return out, nil
}

// zones returns the availability zones: three in every region.
func (a *area) zones() []zoneXML {
	var zones []zoneXML
	for _, letter := range []string{"a", "b", "c"} {
		zones = append(zones, zoneXML{State: "available", OptIn: "opt-in-not-required", Region: a.name, Name: a.name + letter,
			ID: imds.Instance{Region: a.name, AZ: a.name + letter}.ZoneID(), Group: a.name, Border: a.name, Type: "availability-zone"})
	}
	return zones
}
