package region

import (
	"slices"
	"strings"
)

// instanceType is what a machine of a type has.
type instanceType struct {
	arch   string // x86_64, arm64
	cpus   int32
	memory int64 // MiB
	store  bool  // its root may be instance store; it is of Xen, not Nitro

	paravirtual bool // it starts nothing else
}

// storeTypes are the types up to 2xlarge whose root may be instance store, and which are long past their time.
var storeTypes = map[string]instanceType{
	"m1.small": {cpus: 1, memory: 1740, paravirtual: true}, "m1.medium": {cpus: 1, memory: 3840, paravirtual: true},
	"m1.large": {cpus: 2, memory: 7680, paravirtual: true}, "m1.xlarge": {cpus: 4, memory: 15360, paravirtual: true},
	"m2.xlarge": {cpus: 2, memory: 17510, paravirtual: true}, "m2.2xlarge": {cpus: 4, memory: 35020, paravirtual: true},
	"c1.medium": {cpus: 2, memory: 1740, paravirtual: true}, "c1.xlarge": {cpus: 8, memory: 7168, paravirtual: true},
	"m3.medium": {cpus: 1, memory: 3840}, "m3.large": {cpus: 2, memory: 7680}, "m3.xlarge": {cpus: 4, memory: 15360}, "m3.2xlarge": {cpus: 8, memory: 30720},
	"c3.large": {cpus: 2, memory: 3840}, "c3.xlarge": {cpus: 4, memory: 7680}, "c3.2xlarge": {cpus: 8, memory: 15360},
	"r3.large": {cpus: 2, memory: 15616}, "r3.xlarge": {cpus: 4, memory: 31232}, "r3.2xlarge": {cpus: 8, memory: 62464},
	"i2.xlarge": {cpus: 4, memory: 31232}, "i2.2xlarge": {cpus: 8, memory: 62464},
	"d2.xlarge": {cpus: 4, memory: 31232}, "d2.2xlarge": {cpus: 8, memory: 62464},
}

// families are the types that the local region knows: those on Nitro, whose root volume is an NVMe device,
// which QEMU has too. The value is MiB of memory for each size, beginning with the smallest of sizes.
var (
	sizes    = []string{"nano", "micro", "small", "medium", "large", "xlarge", "2xlarge"}
	families = map[string][]int64{
		"t3": burstable, "t3a": burstable, "t4g": burstable,
		"m5": general, "m5a": general, "m6i": general, "m6a": general, "m7i": general, "m7a": general, "m6g": general, "m7g": general, "m8g": general,
		"c5": compute, "c5a": compute, "c6i": compute, "c6a": compute, "c7i": compute, "c7a": compute, "c6g": compute, "c7g": compute, "c8g": compute,
	}
	burstable = []int64{512, 1024, 2048, 4096, 8192, 16384, 32768}
	general   = []int64{0, 0, 0, 4096, 8192, 16384, 32768}
	compute   = []int64{0, 0, 0, 2048, 4096, 8192, 16384}
)

// lookupType returns what a type has, or an error in EC2's words.
func lookupType(name string) (instanceType, error) {
	if t, ok := storeTypes[name]; ok {
		t.arch, t.store = "x86_64", true
		return t, nil
	}
	family, size, ok := strings.Cut(name, ".")
	at := slices.Index(sizes, size)
	memory := families[family]
	switch {
	case !ok || family == "" || size == "":
		return instanceType{}, errorf("InvalidParameterValue", "Invalid value '%.60s' for InstanceType.", name)
	case memory == nil || at < 0 || memory[at] == 0:
		return instanceType{}, errorf("Unsupported", "The requested configuration is currently not supported: the local region "+
			"has Nitro types up to 2xlarge of the families t3, t4g, m5 to m8g, c5 to c8g, and not %.60s", name)
	}
	t := instanceType{arch: "x86_64", cpus: 2, memory: memory[at]}
	switch {
	case size == "xlarge":
		t.cpus = 4
	case size == "2xlarge":
		t.cpus = 8
	case size == "medium" && family[0] != 't':
		t.cpus = 1
	}
	if strings.HasSuffix(family, "g") {
		t.arch = "arm64"
	} else if size == "medium" && family[0] != 't' { // only the Graviton families have it
		return instanceType{}, errorf("InvalidParameterValue", "Invalid value '%.60s' for InstanceType.", name)
	}
	return t, nil
}
