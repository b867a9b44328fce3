package debtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Shell is what the base package has as /bin/sh: the test program itself, which then understands as much as
// the scripts of tests need.
const Shell = "/bin/sh"

// Main runs a script and ends the process if this process is the Shell of a tree; otherwise it returns at
// once. TestMain calls it first.
func Main() {
	if os.Args[0] != Shell {
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	os.Exit(0)
}

// run does what the lines of a script say: "say TEXT", "fail", "write FILE TEXT" (a line more in the file),
// "trigger NAME AWAITER" (as dpkg-trigger does), "exists FILE", "wait DURATION". Other lines mean nothing to
// it. The script is the file that the first argument names, unless that is an option: then it is the
// standard input. Each run of a file is a line of /log.
func run(args []string) error {
	script := io.Reader(os.Stdin)
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		script = f
		name := strings.TrimPrefix(args[0], "/var/lib/dpkg/")
		if err := appendLine("/log", name+" "+strings.Join(args[1:], ",")); err != nil {
			return err
		}
	}
	lines := bufio.NewScanner(script)
	for lines.Scan() {
		if err := do(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func do(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	first, second, _ := strings.Cut(rest, " ")
	switch verb {
	case "say":
		fmt.Println(os.ExpandEnv(rest))
	case "fail":
		return errors.New("it is not to be")
	case "write":
		return appendLine(first, os.ExpandEnv(second))
	case "trigger":
		return appendLine("/var/lib/dpkg/triggers/Unincorp", rest)
	case "exists":
		_, err := os.Stat(first)
		return err
	case "wait":
		d, err := time.ParseDuration(first)
		time.Sleep(d)
		return err
	}
	return nil
}

func appendLine(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	return errors.Join(err, f.Close())
}
