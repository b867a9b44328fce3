package sandbox_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/sandbox"
)

// The test binary plays other parts as well, chosen by this variable of the environment.
const partVar = "INGOT_SANDBOX_TEST"

func TestMain(m *testing.M) {
	sandbox.Main()
	switch part := os.Getenv(partVar); part {
	case "victim":
		victim(os.Args[1], os.Args[2:])
	case "trap":
		trap()
	case "status":
		status, _ := os.ReadFile("/proc/self/status")
		os.Stdout.Write(status)
	case "escape":
		escape()
	case "escaped":
		tryMounts("as root of a namespace of its own")
	default:
		code, entered, err := sandbox.Enter(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, "the tests of sandboxes need root or a user namespace:", err)
			os.Exit(1)
		}
		if !entered {
			code = m.Run()
		}
		os.Exit(code)
	}
}

// trap waits, inside a user namespace, to be asked to end.
func trap() {
	code, entered, err := sandbox.Enter(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
	}
	if entered {
		os.Exit(code)
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGTERM)
	fmt.Fprintln(os.Stdout, "user", os.Getuid())
	<-asked
	fmt.Fprintln(os.Stdout, "asked to end")
	os.Exit(42)
}

// victim runs a command in a sandbox until somebody kills this process.
func victim(root string, args []string) {
	s, err := sandbox.Open(context.Background(), sandbox.Config{Root: root})
	if err == nil {
		err = s.Run(context.Background(), sandbox.Command{Args: args, Stdout: os.Stdout, Timeout: time.Hour})
	}
	fmt.Fprintln(os.Stdout, "not killed:", err)
}

// escape breaks out of the chroot as root can (chroot(2)), says what is there, and tries to go on.
func escape() {
	os.Mkdir("/root/jail", 0o700)
	syscall.Chroot("/root/jail")
	for range 20 {
		os.Chdir("..")
	}
	syscall.Chroot(".")
	names, _ := filepath.Glob("/*")
	fmt.Fprintln(os.Stdout, names)
	tryMounts("as root")
	// Out of the chroot, a user namespace of one's own is allowed. It must not help.
	cmd := exec.Command("/tree/probe")
	cmd.Env = []string{partVar + "=escaped"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// No ids can be mapped, with /proc read-only; capabilities are kept across exec without.
	cmd.SysProcAttr = &syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stdout, "no namespace:", err)
	}
}

// tryMounts looks for a writable view of the kernel's settings.
func tryMounts(who string) {
	syscall.Unmount("/tree/proc", syscall.MNT_DETACH)
	syscall.Mount("", "/tree/proc", "", syscall.MS_REMOUNT|syscall.MS_BIND, "")
	syscall.Mount("proc", "/proc", "proc", 0, "")
	err := syscall.Mount("tmpfs", "/tree/root", "tmpfs", 0, "")
	fmt.Fprintln(os.Stdout, who, "mounting:", err)
	for _, dir := range []string{"/proc", "/tree/proc", "/tree/tmp"} {
		f, err := os.OpenFile(dir+"/sys/kernel/core_pattern", os.O_WRONLY, 0) // and nothing is written
		if err == nil {
			fmt.Fprintln(os.Stdout, who, "could write below", dir)
			f.Close()
		}
	}
}
