package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ingot/internal/fault"
	"ingot/internal/machine"
	"ingot/internal/publish"
	"ingot/internal/publish/doctor"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
)

// checkup is one line of the doctor's report.
type checkup struct {
	Name   string `json:"name"`
	Region string `json:"region,omitempty"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // building, or publishing, cannot do without it
	Quota  bool   `json:"quota,omitempty"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

func (a *app) doctorVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [RECIPE]",
		Short: "Check what this machine, and an AWS account, can do for ingot",
		Long: `Check what this machine can do for ingot: namespaces to run packages' scripts in, QEMU and firmware to boot
images with, KVM, disk space, the kernel's vsyscall page, which programs of CentOS 6 need, and emulators for
images of other architectures. Exits with 8 when building images cannot work here.

With --cloud, check the AWS account instead: whose credentials these are, which of the permissions that publishing needs
are there (by dry runs), which regions are on, whether public images are blocked and by whom, whether new snapshots are
encrypted by default, how much of the quotas is used, and, with a recipe that has one, the bucket for instance store.
A recipe says which regions are looked at, and whether its images are to be public. Exits with 11 when publishing cannot work.
Nothing is changed.`,
		Args: args(0, 1, "at most one recipe"),
	}
	set, t := recipeFlags(cmd), target(cmd)
	cloud := cmd.Flags().Bool("cloud", false, "check the AWS account, not this machine")
	regions := cmd.Flags().StringSlice("region", nil, "`REGIONS` to look at, instead of the recipe's (default: those that need no opt-in)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *cloud {
			return a.cloudDoctor(cmd.Context(), args, set, *t, *regions)
		}
		if len(args) > 0 {
			return fault.New(fault.Usage, errors.New("a recipe is for --cloud"), "see `"+cmd.CommandPath()+" --help`")
		}
		all := a.checkups(cmd.Context())
		a.settle()
		var broken error
		for _, c := range all {
			if c.Needed && !c.OK {
				broken = fault.New(fault.Host, errors.New("this machine cannot build images yet"), c.Hint)
			}
			a.sayCheckup(c)
		}
		return broken
	}
	return cmd
}

func (a *app) sayCheckup(c checkup) {
	if a.json {
		a.result("check", c)
		return
	}
	mark := "✓"
	if !c.OK {
		mark = "✗"
	}
	name := c.Name
	if c.Region != "" {
		name = c.Region + " " + name
	}
	fmt.Fprintf(a.out, "%s %-22s %s\n", mark, name, c.Detail)
	if c.Hint != "" {
		fmt.Fprintf(a.out, "  %-22s → %s\n", "", c.Hint)
	}
}

// cloudDoctor looks at an AWS account.
func (a *app) cloudDoctor(ctx context.Context, args []string, set settings, t publish.Target, regions []string) error {
	var recipes []*recipe.Recipe
	var err error
	if len(args) == 1 {
		if recipes, err = recipe.Load(args[0], set); err != nil {
			return err
		}
	}
	clients, err := a.clients(ctx, t)
	if err != nil {
		return err
	}
	d := &doctor.Doctor{Clients: clients, Home: "us-east-1", Regions: regions, Volumes: true}
	if len(recipes) > 0 {
		for _, r := range recipes {
			d.Public = d.Public || r.Publish.Public
			if slices.Contains(r.Publish.Kinds, recipe.InstanceStore) {
				d.Bucket = r.Publish.Bucket
			}
			if len(regions) == 0 {
				d.Regions = append(d.Regions, r.Publish.Regions...)
			}
		}
		if d.Regions, err = publish.Regions(ctx, clients, d.Regions); err != nil {
			return err
		}
	}
	if len(d.Regions) > 0 {
		d.Home = d.Regions[0]
	}
	all, err := d.Run(ctx)
	a.settle()
	for _, c := range all {
		if c.Needed && !c.OK && err == nil {
			err = fault.New(fault.Denied, errors.New("publishing to this account cannot work yet: "+c.Name), c.Hint)
		}
		a.sayCheckup(checkup(c))
	}
	return err
}

func (a *app) checkups(ctx context.Context) []checkup {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var all []checkup
	for _, c := range sandbox.Checks(ctx) {
		one := checkup{Name: c.Name, OK: c.Err == nil, Needed: true, Detail: "works"}
		if c.Err != nil {
			one.Detail, one.Hint = c.Err.Error(), fault.HintOf(c.Err)
		}
		all = append(all, one)
	}
	arch := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	qemu := map[string]string{"x86_64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[arch]
	if path, err := exec.LookPath(qemu); err != nil {
		all = append(all, checkup{Name: "QEMU", Detail: "no " + qemu + ": images can be built, but not booted", Hint: "install qemu-system (Debian: qemu-system-x86 or -arm)"})
	} else {
		accel := machine.Probe(ctx, arch)
		all = append(all, checkup{Name: "QEMU", OK: true, Detail: path},
			checkup{Name: "KVM", OK: accel.Name == "kvm", Detail: accel.Reason})
	}
	if err := machine.CheckFirmware(arch); err != nil {
		all = append(all, checkup{Name: "UEFI firmware", Detail: err.Error(), Hint: fault.HintOf(err)})
	} else {
		all = append(all, checkup{Name: "UEFI firmware", OK: true, Detail: "found"})
	}
	all = append(all, a.space(), vsyscall())
	for _, arch := range []string{"x86_64", "arm64"} {
		c := checkup{Name: "programs for " + arch, OK: true, Detail: "run here"}
		if err := sandbox.CheckArch(arch); err != nil {
			c.OK, c.Detail, c.Hint = false, err.Error(), "only for images of that architecture: "+fault.HintOf(err)
		}
		all = append(all, c)
	}
	return all
}

// space looks for room in the cache: a first build of an image of 150 packages takes about 2 GiB.
func (a *app) space() checkup {
	c := checkup{Name: "disk space", Needed: true}
	dir, err := a.cacheDir()
	if err != nil {
		c.Detail = err.Error()
		return c
	}
	var st unix.Statfs_t
	at := dir
	for err = unix.Statfs(at, &st); errors.Is(err, unix.ENOENT) && at != "/"; err = unix.Statfs(at, &st) {
		at = filepath.Dir(at)
	}
	if err != nil {
		c.Detail = err.Error()
		return c
	}
	const wanted = 4 << 30
	free := int64(st.Bavail) * st.Bsize
	c.OK = free >= wanted
	c.Detail = fmt.Sprintf("%s free for %s", bytesText(free), dir)
	if !c.OK {
		c.Hint = "a build wants about 4 GiB; choose another place with --cache-dir or INGOT_CACHE"
	}
	return c
}

// vsyscall tells whether the kernel still has the page that programs of CentOS 6 call.
func vsyscall() checkup {
	if err := sandbox.CheckVsyscall(); err != nil {
		return checkup{Name: "vsyscall", Detail: err.Error(), Hint: "only for CentOS 6: " + fault.HintOf(err)}
	}
	return checkup{Name: "vsyscall", OK: true, Detail: "there: programs of CentOS 6 run here"}
}
