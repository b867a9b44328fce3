package bundle

import (
	"crypto/rsa"
	"embed"
	"fmt"
	"strings"

	"ingot/internal/fault"
)

// The public certificates of EC2, one for each partition, as ec2-ami-tools and euca2ools ship them. They expired
// long ago, which changes nothing: EC2 still decrypts with the keys behind them. Their SHA-1 fingerprints are
// held by a test.
//
//go:embed certs/*.pem
var certs embed.FS

// EC2Key returns the public key that bundles for a region are encrypted for. GovCloud's certificate is known to
// be us-gov-west-1's and China's to be cn-north-1's; whether their sister regions use the same is not, so those
// have to be given theirs.
func EC2Key(region string) (*rsa.PublicKey, error) {
	file := "aws"
	switch {
	case region == "us-gov-west-1":
		file = "aws-us-gov"
	case region == "cn-north-1":
		file = "aws-cn"
	case strings.HasPrefix(region, "us-gov-"), strings.HasPrefix(region, "cn-"),
		strings.HasPrefix(region, "us-iso"), strings.HasPrefix(region, "eu-isoe"), strings.HasPrefix(region, "eusc-"):
		return nil, fault.New(fault.Input, fmt.Errorf("choosing EC2's certificate for %s: it is not known", region),
			"give the certificate that AWS names for this region")
	}
	text, err := certs.ReadFile("certs/" + file + ".pem")
	if err != nil {
		return nil, err
	}
	return ParseCertificate(text)
}
