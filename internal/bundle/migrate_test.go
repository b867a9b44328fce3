package bundle

import (
	"path/filepath"
	"testing"

	"ingot/internal/fault"
)

func TestMigrate(t *testing.T) {
	t.Parallel()
	user, cloud := testKeys()
	for _, dialect := range []string{"ec2-ami-tools", "euca2ools"} {
		vector := filepath.Join("testdata", "vectors", dialect, "dense-11")
		m := read(t, vector, "image")
		m.KernelID, m.RamdiskID = "", ""
		cn, err := EC2Certificate("cn-north-1")
		if err != nil {
			t.Fatal(err)
		}
		// From the commercial partition to China's, and from there to where the test has the key.
		if err := m.Migrate(Migration{Key: user, EC2: cn.PublicKey, Region: "cn-north-1", AnySignature: true}); err != nil {
			t.Fatal(err)
		}
		if len(m.EC2.Key) != 2*cn.Size() {
			t.Errorf("the key is wrapped in %d digits, not for China's key", len(m.EC2.Key))
		}
		if _, err := m.EC2.unwrap(cloud); err == nil {
			t.Error("the former cloud still opens the bundle")
		}
		if err := m.Migrate(Migration{Key: user, EC2: &cloud.PublicKey, Region: "us-west-2"}); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(m.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(t.Context(), again, Dir(vector), ExtractOptions{Key: cloud, Signer: &user.PublicKey}, nil); err != nil {
			t.Errorf("%s: %v", dialect, err)
		}
	}
}

func TestMigrateKernels(t *testing.T) {
	t.Parallel()
	user, cloud := testKeys()
	for name, c := range map[string]struct {
		kernel, ramdisk string
		o               Migration
		wantKernel      string
		want            fault.Kind
	}{
		"the same in all regions":  {"aki-5c21674b", "", Migration{Region: "eu-west-1"}, "aki-dc9ed9af", fault.Bug},
		"a region without it":      {"aki-5c21674b", "", Migration{Region: "eu-north-1"}, "", fault.Input},
		"a region's own":           {"aki-01234567", "", Migration{Region: "eu-west-1"}, "", fault.Input},
		"one that is named":        {"aki-01234567", "ari-1", Migration{KernelID: "aki-2", RamdiskID: "ari-2"}, "aki-2", fault.Bug},
		"a ramdisk that is not":    {"aki-5c21674b", "ari-1", Migration{Region: "eu-west-1"}, "", fault.Input},
		"one that is dropped":      {"aki-01234567", "ari-1", Migration{Region: "eu-west-1", Drop: true}, "", fault.Bug},
		"a name that is not an id": {"aki-5c21674b", "", Migration{KernelID: "<aki>"}, "", fault.Usage},
		"none":                     {"", "", Migration{Region: "eu-west-1"}, "", fault.Bug},
	} {
		m := create(t, memory([]byte("x")), testOptions(t.TempDir()))
		m.KernelID, m.RamdiskID = c.kernel, c.ramdisk
		if err := m.Sign(user); err != nil {
			t.Fatal(err)
		}
		before := string(m.Encode())
		c.o.Key, c.o.EC2 = user, &cloud.PublicKey
		err := m.Migrate(c.o)
		if (err != nil) != (c.want != fault.Bug) || err != nil && fault.KindOf(err) != c.want || err == nil && (m.KernelID != c.wantKernel || m.RamdiskID != c.o.RamdiskID) {
			t.Errorf("%s: %s, %v", name, m.KernelID, err)
		}
		if err != nil && string(m.Encode()) != before {
			t.Errorf("%s: a refused migration changes the manifest", name)
		}
	}
	m := create(t, memory([]byte("x")), testOptions(t.TempDir()))
	m.User = "210987654321"
	m.signed = m.canonical()
	if err := m.Migrate(Migration{Key: user, EC2: &cloud.PublicKey}); fault.KindOf(err) != fault.Trust {
		t.Errorf("a tampered manifest: %v", err)
	}
	m = create(t, memory([]byte("x")), testOptions(t.TempDir()))
	if err := m.Migrate(Migration{Key: cloud, EC2: &cloud.PublicKey}); fault.KindOf(err) != fault.Trust {
		t.Errorf("another's key: %v", err)
	}
}
