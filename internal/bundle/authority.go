package bundle

import (
	"embed"
	"fmt"
	"strings"

	"ingot/internal/fault"
)

// The public certificates of EC2, one for each partition, as ec2-ami-tools and euca2ools ship them. They expired
// long ago, which changes nothing: EC2 still decrypts with the keys behind them.
//
//go:embed certs/*.pem
var certs embed.FS

// authorities are what is known about the certificates: the region that each is said to be for, and its SHA-1
// fingerprint. The first one is for every region of the commercial partition.
var authorities = []struct{ region, file, fingerprint string }{
	{"", "aws", "D3:27:BA:A0:F8:D3:EE:9C:BB:3C:FB:FE:3B:52:65:A8:40:53:5D:0D"},
	{"us-gov-west-1", "aws-us-gov", "89:D9:37:5A:6F:D0:90:DE:28:E1:63:78:6D:EE:5E:7E:19:6D:AA:B8"},
	{"cn-north-1", "aws-cn", "1C:93:69:12:A3:18:42:A5:72:DD:E3:E0:B6:3B:CE:66:DF:77:20:2F"},
}

// otherPartitions are the beginnings of the names of regions that are not in the commercial partition.
var otherPartitions = []string{"us-gov-", "cn-", "us-iso", "eu-isoe", "eusc-"}

// EC2Certificate returns the certificate that bundles for a region are encrypted for. GovCloud's is known to be
// us-gov-west-1's and China's to be cn-north-1's; whether their sister regions use the same is not, so those have
// to be given theirs.
func EC2Certificate(region string) (*Certificate, error) {
	chosen := authorities[0]
	for _, a := range authorities[1:] {
		if a.region == region {
			chosen = a
		}
	}
	for _, prefix := range otherPartitions {
		if chosen.region == "" && strings.HasPrefix(region, prefix) {
			return nil, fault.New(fault.Input, fmt.Errorf("choosing EC2's certificate for %s: it is not known", region),
				"give the certificate that AWS names for this region")
		}
	}
	text, err := certs.ReadFile("certs/" + chosen.file + ".pem")
	if err != nil {
		return nil, err
	}
	c, err := ParseCertificate(text)
	if err == nil && c.Fingerprint != chosen.fingerprint {
		return nil, fault.Newf(fault.Bug, "EC2's certificate for %s has the fingerprint %s, not %s", region, c.Fingerprint, chosen.fingerprint)
	}
	return c, err
}
