package publish

import "strings"

// partitions are AWS's, by how the names of their regions begin, with the region that is asked about a whole
// partition: one that every account of it has.
var partitions = []struct{ prefix, name, home string }{
	{"cn-", "aws-cn", "cn-north-1"},
	{"us-gov-", "aws-us-gov", "us-gov-west-1"},
	{"eusc-", "aws-eusc", "eusc-de-east-1"},
	{"us-iso-", "aws-iso", "us-iso-east-1"},
	{"us-isob-", "aws-iso-b", "us-isob-east-1"},
	{"", "aws", "us-east-1"},
}

// Partition returns the partition of a region: aws, aws-cn, aws-us-gov or another one. Each has accounts and credentials
// of its own.
func Partition(region string) string {
	name, _ := partition(region)
	return name
}

func partition(region string) (name, home string) {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p.name, p.home
		}
	}
	panic("unreachable: the last prefix is empty")
}
