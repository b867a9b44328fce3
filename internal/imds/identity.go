package imds

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// document is the instance identity document, with EC2's field names and order.
type document struct {
	AccountID               string   `json:"accountId"`
	Architecture            string   `json:"architecture"`
	AvailabilityZone        string   `json:"availabilityZone"`
	BillingProducts         []string `json:"billingProducts"`
	DevpayProductCodes      []string `json:"devpayProductCodes"`
	MarketplaceProductCodes []string `json:"marketplaceProductCodes"`
	ImageID                 string   `json:"imageId"`
	InstanceID              string   `json:"instanceId"`
	InstanceType            string   `json:"instanceType"`
	KernelID                *string  `json:"kernelId"`
	PendingTime             *string  `json:"pendingTime"`
	PrivateIP               string   `json:"privateIp"`
	RamdiskID               *string  `json:"ramdiskId"`
	Region                  string   `json:"region"`
	Version                 string   `json:"version"`
}

func (i Instance) document() string {
	d := document{AccountID: i.AccountID, Architecture: i.Arch, AvailabilityZone: i.AZ, ImageID: i.ImageID,
		InstanceID: i.ID, InstanceType: i.Type, PrivateIP: i.LocalIPv4, Region: i.Region, Version: "2017-09-30"}
	if !i.Launched.IsZero() {
		at := i.Launched.UTC().Format(time.RFC3339)
		d.PendingTime = &at
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		panic(err) // strings and nulls always marshal
	}
	return string(text)
}

// dynamic returns the leaves below dynamic, by path. The document is signed as EC2 signs it, but with a
// key of this process: a guest that checks the signature against Amazon's certificates has to refuse it.
func (i Instance) dynamic() map[string]entry {
	text := i.document()
	leaves := map[string]entry{
		"fws/instance-monitoring":    {"2009-04-04", "disabled"},
		"instance-identity/document": {"2009-04-04", text},
	}
	s, err := ourSigner()
	if err != nil {
		return leaves // the service lists no signatures where there is no randomness to make a key
	}
	plain, bundle, err := s.sign([]byte(text))
	if err != nil {
		return leaves
	}
	leaves["instance-identity/signature"] = entry{"2009-04-04", wrap(plain)}
	leaves["instance-identity/pkcs7"] = entry{"2009-04-04", wrap(bundle)}
	leaves["instance-identity/rsa2048"] = entry{"2016-06-30", wrap(bundle)}
	return leaves
}

// wrap encodes as base64 in lines of 64 characters, without the marks of PEM, as EC2 does.
func wrap(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	var lines []byte
	for len(text) > 64 {
		lines = append(append(lines, text[:64]...), '\n')
		text = text[64:]
	}
	return string(lines) + text
}

type signer struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

// ourSigner makes the process's key and its certificate once; that takes a good part of a second.
var ourSigner = sync.OnceValues(func() (*signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making a key for identity documents: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ingot local region"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for identity documents: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return &signer{key, cert}, err
})

// Object identifiers of RFC 8017 and RFC 5652.
var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidRSA        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
)

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content any `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version          int
	DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
	Content          contentInfo
	Certificates     asn1.RawValue
	Signers          []signerInfo `asn1:"set"`
}

type signerInfo struct {
	Version            int
	Issuer             issuerAndSerial
	DigestAlgorithm    pkix.AlgorithmIdentifier
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          []byte
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

// sign returns the RSA PKCS #1 v1.5 signature of the text's SHA-256, and the same inside a PKCS #7
// SignedData (RFC 5652) that contains the text.
func (s *signer) sign(text []byte) (plain, bundle []byte, err error) {
	digest := sha256.Sum256(text)
	if plain, err = rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, digest[:]); err != nil {
		return nil, nil, err
	}
	sha := pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}
	bundle, err = asn1.Marshal(contentInfo{oidSignedData, signedData{
		Version:          1,
		DigestAlgorithms: []pkix.AlgorithmIdentifier{sha},
		Content:          contentInfo{oidData, text},
		Certificates:     asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: s.cert.Raw},
		Signers: []signerInfo{{
			Version:            1,
			Issuer:             issuerAndSerial{asn1.RawValue{FullBytes: s.cert.RawIssuer}, s.cert.SerialNumber},
			DigestAlgorithm:    sha,
			SignatureAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue},
			Signature:          plain,
		}},
	}})
	return plain, bundle, err
}
