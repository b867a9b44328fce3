package region

import (
	"regexp"
	"strings"
)

var (
	keyID  = regexp.MustCompile(`^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)
	keyARN = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(key|alias)/.+$`)
)

// managedKey is the ARN of the key that AWS manages for EBS, which encrypts what asks for no other key. What it
// encrypts cannot be shared.
func (a *area) managedKey() string { return a.keyARN("00000000-0000-0000-0000-000000000000") }

func (a *area) keyARN(id string) string {
	return "arn:" + a.partition() + ":kms:" + a.name + ":" + a.r.opt.AccountID + ":key/" + id
}

// key returns the ARN of the key that a request names by id, alias or ARN, and whether it can be used in the region.
// There is no KMS: every key with the form of one is there, and no alias but that of the managed key.
func (a *area) key(name string) (arn string, usable bool) {
	if keyID.MatchString(name) {
		return a.keyARN(name), true
	}
	if m := keyARN.FindStringSubmatch(name); m != nil && m[2] == "key" {
		return name, m[1] == a.name
	}
	if alias := "alias/aws/ebs"; name == "" || name == alias || name == strings.Replace(a.keyARN(""), "key/", alias, 1) {
		return a.managedKey(), true
	}
	return name, false
}

// encryption is what a request for a volume or a snapshot says of it.
type encryption struct {
	Encrypted *bool  `q:"Encrypted"`
	KmsKey    string `q:"KmsKeyId"`
}

// resolve returns whether something made of source, which may be nil, is encrypted, with which key, and whether that can be
// used. AWS finds out the last after it has answered.
func (e encryption) resolve(a *area, source *snapshot) (encrypted bool, key string, usable bool, err error) {
	inherits := source != nil && source.Encrypted
	switch {
	case e.KmsKey != "" && (e.Encrypted == nil || !*e.Encrypted) && !inherits:
		return false, "", false, errorf("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	case e.Encrypted != nil && !*e.Encrypted && inherits && e.KmsKey == "":
		return false, "", false, errorf("InvalidParameterCombination", "An encrypted snapshot cannot be made into something that is not encrypted")
	case !inherits && (e.Encrypted == nil || !*e.Encrypted):
		return false, "", true, nil
	}
	key, usable = a.key(e.KmsKey)
	return true, key, usable, nil
}
