package region

import (
	"bytes"
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // EC2 defines the fingerprint of an imported RSA key so
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // EC2 defines the fingerprint of an RSA key that it made so
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// keyPair is an SSH key that instances can be launched with.
type keyPair struct {
	ID, Name, Type string
	Fingerprint    string
	PublicKey      string // a line of authorized_keys, without its end
	Created        time.Time
	Tags           map[string]string
}

type keyXML struct {
	ID          string `xml:"keyPairId"`
	Fingerprint string `xml:"keyFingerprint"`
	Name        string `xml:"keyName"`
	Type        string `xml:"keyType,omitempty"`
	Material    string `xml:"keyMaterial,omitempty"`
	PublicKey   string `xml:"publicKey,omitempty"`
	Created     string `xml:"createTime,omitempty"`
	Tags        []tag  `xml:"tagSet>item,omitempty"`
}

type keyOut struct {
	reply
	keyXML
}

func (k *keyPair) attr(name string) ([]string, bool) {
	if k == nil {
		k = &keyPair{}
	}
	switch name {
	case "key-name":
		return []string{k.Name}, true
	case "key-pair-id":
		return []string{k.ID}, true
	case "fingerprint":
		return []string{k.Fingerprint}, true
	}
	return tagAttr(k.Tags, name)
}

func (a *area) keyNamed(name string) *keyPair {
	for _, k := range a.keys.rows {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// newKey checks what importing and creating have in common.
func (a *area) newKey(name string, specs []tagSpec) (*keyPair, error) {
	switch {
	case name == "":
		return nil, missing("KeyName")
	case len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(name) != name:
		return nil, errorf("InvalidParameterValue", "Value (%.300s) for parameter KeyName is invalid. "+
			"Character sets beyond ASCII are not supported.", name)
	case a.keyNamed(name) != nil:
		return nil, errorf("InvalidKeyPair.Duplicate", "The keypair '%s' already exists.", name)
	}
	tags, err := specTags(specs, "key-pair")
	if err != nil {
		return nil, err
	}
	return &keyPair{ID: a.keys.newID(), Name: name, Created: a.r.opt.Now(), Tags: tags["key-pair"]}, nil
}

type importKeyPairIn struct {
	dryRun
	Name     string    `q:"KeyName"`
	Material []byte    `q:"PublicKeyMaterial"`
	Specs    []tagSpec `q:"TagSpecification"`
}

func (a *area) importKeyPair(in *importKeyPairIn) (*keyOut, error) {
	k, err := a.newKey(in.Name, in.Specs)
	if err != nil {
		return nil, err
	}
	if len(in.Material) == 0 {
		return nil, missing("PublicKeyMaterial")
	}
	pub, comment, _, _, err := ssh.ParseAuthorizedKey(bytes.TrimSpace(in.Material))
	if err != nil {
		return nil, errorf("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	crypto, _ := pub.(ssh.CryptoPublicKey)
	switch pub.Type() {
	case ssh.KeyAlgoRSA:
		rsaKey := crypto.CryptoPublicKey().(*rsa.PublicKey)
		if bits := rsaKey.N.BitLen(); !slices.Contains([]int{1024, 2048, 4096}, bits) {
			return nil, errorf("InvalidKey.Format", "RSA keys of %d bits are not supported; 1024, 2048 and 4096 are", bits)
		}
		der, err := x509.MarshalPKIXPublicKey(rsaKey)
		if err != nil {
			return nil, fmt.Errorf("fingerprinting key pair %s: %w", k.Name, err)
		}
		sum := md5.Sum(der) //nolint:gosec
		k.Type, k.Fingerprint = "rsa", colons(sum[:])
	case ssh.KeyAlgoED25519:
		k.Type, k.Fingerprint = "ed25519", sshFingerprint(pub)
	default:
		return nil, errorf("InvalidKey.Format", "Keys of the type %s are not supported; rsa and ed25519 are", pub.Type())
	}
	k.PublicKey = authorized(pub, comment)
	if err := in.dry(); err != nil {
		return nil, err
	}
	return &keyOut{keyXML: k.xml()}, a.keys.put(k.ID, k)
}

func authorized(pub ssh.PublicKey, comment string) string {
	return strings.TrimSpace(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))) + " " + comment)
}

func colons(sum []byte) string { return strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":") }

func sshFingerprint(pub ssh.PublicKey) string {
	sum := sha256.Sum256(pub.Marshal())
	return base64.StdEncoding.EncodeToString(sum[:])
}

// xml returns what Import and Create answer.
func (k *keyPair) xml() keyXML {
	return keyXML{ID: k.ID, Fingerprint: k.Fingerprint, Name: k.Name, Tags: tagSet(k.Tags)}
}

type createKeyPairIn struct {
	dryRun
	Name   string    `q:"KeyName"`
	Type   string    `q:"KeyType"`
	Format string    `q:"KeyFormat"`
	Specs  []tagSpec `q:"TagSpecification"`
}

func (a *area) createKeyPair(in *createKeyPairIn) (*keyOut, error) {
	k, err := a.newKey(in.Name, in.Specs)
	if err != nil {
		return nil, err
	}
	if in.Format != "" && in.Format != "pem" {
		return nil, errorf("InvalidParameterValue", "Invalid value '%.40s' for KeyFormat; the local region makes pem alone", in.Format)
	}
	if in.Type != "" && in.Type != "rsa" && in.Type != "ed25519" {
		return nil, errorf("InvalidParameterValue", "Invalid value '%.40s' for KeyType; expected rsa or ed25519", in.Type)
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	var block *pem.Block
	if in.Type == "ed25519" {
		block, err = k.makeED25519()
	} else {
		block, err = k.makeRSA()
	}
	if err != nil {
		return nil, fmt.Errorf("making key pair %s: %w", k.Name, err)
	}
	out := &keyOut{keyXML: k.xml()}
	out.Material = string(pem.EncodeToMemory(block))
	return out, a.keys.put(k.ID, k)
}

func (k *keyPair) makeED25519() (*pem.Block, error) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, err
	}
	k.Type, k.Fingerprint, k.PublicKey = "ed25519", sshFingerprint(sshPub), authorized(sshPub, k.Name)
	return ssh.MarshalPrivateKey(private, k.Name)
}

func (k *keyPair) makeRSA() (*pem.Block, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	sshPub, err := ssh.NewPublicKey(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum(der) //nolint:gosec
	k.Type, k.Fingerprint, k.PublicKey = "rsa", colons(sum[:]), authorized(sshPub, k.Name)
	return &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}, nil
}

type describeKeyPairsIn struct {
	dryRun
	Filters       []filter `q:"Filter"`
	Names         []string `q:"KeyName"`
	IDs           []string `q:"KeyPairId"`
	IncludePublic bool     `q:"IncludePublicKey"`
}

type describeKeyPairsOut struct {
	reply
	Keys list[keyXML] `xml:"keySet"`
}

func (a *area) describeKeyPairs(in *describeKeyPairsIn) (*describeKeyPairsOut, error) {
	if err := in.dry(); err != nil {
		return nil, err
	}
	for _, name := range in.Names {
		if a.keyNamed(name) == nil {
			return nil, errorf("InvalidKeyPair.NotFound", "The key pair '%.300s' does not exist", name)
		}
	}
	for _, id := range in.IDs {
		if a.keys.rows[id] == nil {
			return nil, errorf("InvalidKeyPair.NotFound", "The key pair '%.300s' does not exist", id)
		}
	}
	var all []*keyPair
	for id, k := range a.keys.rows {
		if has(in.Names, k.Name) && has(in.IDs, id) {
			all = append(all, k)
		}
	}
	all, err := choose(all, in.Filters, (*keyPair).attr)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *keyPair) int { return strings.Compare(a.Name, b.Name) })
	out := &describeKeyPairsOut{}
	for _, k := range all {
		x := k.xml()
		x.Type, x.Created = k.Type, stamp(k.Created)
		if in.IncludePublic {
			x.PublicKey = k.PublicKey
		}
		out.Keys.Items = append(out.Keys.Items, x)
	}
	return out, nil
}

type deleteKeyPairIn struct {
	dryRun
	Name string `q:"KeyName"`
	ID   string `q:"KeyPairId"`
}

type deleteKeyPairOut struct {
	done
	ID string `xml:"keyPairId,omitempty"`
}

// deleteKeyPair succeeds where there is no such key pair, as EC2 does.
func (a *area) deleteKeyPair(in *deleteKeyPairIn) (*deleteKeyPairOut, error) {
	if (in.Name == "") == (in.ID == "") {
		return nil, missing("KeyName or KeyPairId, and not both")
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	out := &deleteKeyPairOut{done: done{Return: true}}
	k := a.keys.rows[in.ID]
	if in.Name != "" {
		k = a.keyNamed(in.Name)
	}
	if k == nil {
		return out, nil
	}
	out.ID = k.ID
	return out, a.keys.drop(k.ID)
}
