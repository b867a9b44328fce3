package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ingot/internal/deploy/lambda"
	"ingot/internal/fault"
)

// Exit codes of ec2-ami-tools.
const (
	oldParameters  = 1
	oldNotFound    = 2 // also: the backup of a manifest is there already
	oldS3          = 3
	oldPrompt      = 5 // nobody answered; or something could not be deleted
	oldMapping     = 6 // a kernel or ramdisk has no counterpart
	oldLocation    = 10
	oldMetadata    = 12
	oldOther       = 254
	oldInterrupted = 255
)

// oldTool is one of ec2-ami-tools, by whose name this program may be called.
type oldTool struct {
	about   string
	options func(f *pflag.FlagSet, o *oldOptions)
	needs   []string // long names of the options that must be given
	run     func(ctx context.Context, t *oldRun) error
	failure int // the code of what goes wrong in it, unless something else is known
}

var oldTools = map[string]oldTool{
	"ec2-bundle-image":     {"bundles a disk image", oldBundleImageOptions, []string{"image", "cert", "privatekey", "user"}, oldBundleImage, oldOther},
	"ec2-bundle-vol":       {"bundles a running system or a directory", oldBundleVolOptions, nil, oldBundleVol, oldOther},
	"ec2-unbundle":         {"opens a bundle", oldUnbundleOptions, []string{"manifest", "privatekey"}, oldUnbundle, oldOther},
	"ec2-upload-bundle":    {"uploads a bundle to S3", oldUploadOptions, []string{"bucket", "manifest"}, oldUpload, oldS3},
	"ec2-download-bundle":  {"downloads a bundle from S3", oldDownloadOptions, []string{"bucket", "privatekey"}, oldDownload, oldS3},
	"ec2-delete-bundle":    {"deletes a bundle from S3", oldDeleteOptions, []string{"bucket"}, oldDelete, oldS3},
	"ec2-migrate-manifest": {"makes a manifest fit for another region", oldMigrateOptions, []string{"manifest", "cert", "privatekey"}, oldMigrate, oldOther},
}

// Called runs what this program was called as: one of Amazon's tools, or ingot. argv is with the name.
func Called(ctx context.Context, argv []string, out, errw io.Writer) int {
	if address := lambda.Address(); address != "" {
		return lambdaMain(ctx, address, errw)
	}
	name := filepath.Base(argv[0])
	tool, ok := oldTools[name]
	if !ok {
		return Main(ctx, argv[1:], out, errw)
	}
	t := &oldRun{app: &app{out: out, err: errw}, name: name, tool: tool, o: &oldOptions{}}
	err := t.main(ctx, argv[1:])
	return t.code(errors.Join(err, t.close()))
}

// oldRun is a run of an old tool.
type oldRun struct {
	*app
	name string
	tool oldTool
	o    *oldOptions
	set  *pflag.FlagSet
}

// oldError is an error with a code of its own. Without an error it only ends the program.
type oldError struct {
	code int
	err  error
}

func (e *oldError) Error() string { return fmt.Sprint(e.err) }
func (e *oldError) Unwrap() error { return e.err }

// parameter is an error on the command line.
func parameter(format string, args ...any) error {
	return &oldError{oldParameters, fmt.Errorf(format, args...)}
}

func (t *oldRun) main(ctx context.Context, args []string) error {
	t.set = pflag.NewFlagSet(t.name, pflag.ContinueOnError)
	t.set.SetOutput(io.Discard)
	t.set.SortFlags = false
	help, version := t.set.BoolP("help", "h", false, "display this help message and exit"), t.set.Bool("version", false, "display the version and exit")
	manual := t.set.Bool("manual", false, "display this help message and exit")
	t.set.BoolVar(&t.o.batch, "batch", false, "ask nothing")
	t.set.Bool("debug", false, "has no effect")
	t.tool.options(t.set, t.o)
	if err := t.set.Parse(t.expand(args)); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return parameter("%w", err)
	}
	switch {
	case *version:
		fmt.Fprintf(t.out, "%s (ingot %s)\n", t.name, Version)
		return nil
	case *help || *manual:
		fmt.Fprintf(t.out, "%s %s. It is ingot, called by this name; see docs/bundles.md.\n\n%s", t.name, t.tool.about, t.set.FlagUsages())
		return nil
	case t.set.NArg() > 0:
		return parameter("unexpected argument %q", t.set.Arg(0))
	}
	for _, name := range t.tool.needs {
		if !t.set.Changed(name) {
			return parameter("missing mandatory parameter: --%s", name)
		}
	}
	return t.tool.run(ctx, t)
}

// expand spells out long options that are abbreviated.
func (t *oldRun) expand(args []string) []string {
	var out []string
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		name, _, _ := strings.Cut(arg, "=")
		if long, ok := strings.CutPrefix(name, "--"); ok && t.set.Lookup(long) == nil {
			var found []string
			t.set.VisitAll(func(f *pflag.Flag) {
				if strings.HasPrefix(f.Name, long) {
					found = append(found, f.Name)
				}
			})
			if len(found) == 1 {
				arg = "--" + found[0] + strings.TrimPrefix(arg, name)
			}
		}
		out = append(out, arg)
	}
	return out
}

// code says what went wrong, and returns its exit code.
func (t *oldRun) code(err error) int {
	var known *oldError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(t.err, "\n%s interrupted.\n", t.name)
		return oldInterrupted
	case !errors.As(err, &known):
		known = &oldError{t.tool.failure, err}
		if t.tool.failure != oldS3 && fault.KindOf(err) == fault.Missing {
			known.code = oldNotFound
		}
	}
	switch {
	case known.err == nil:
	case known.code == oldParameters:
		fmt.Fprintf(t.err, "%v\nTry '%s --help'\n", err, t.name)
	default:
		fmt.Fprintf(t.err, "ERROR: %v\n", err)
		if hint := fault.HintOf(err); hint != "" {
			fmt.Fprintf(t.err, "hint: %s\n", hint)
		}
	}
	return known.code
}

// promptLimit is how long the old tools wait for an answer.
const promptLimit = 30 * time.Second

// ask asks a question, and tells whether the answer begins with a y. silent is what happens when nobody answers.
func (t *oldRun) ask(ctx context.Context, question string, silent error) (bool, error) {
	fmt.Fprint(t.out, question)
	limit, cancel := context.WithTimeout(ctx, promptLimit)
	defer cancel()
	answer, err := readLine(input{limit, os.Stdin})
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case limit.Err() != nil:
		return false, silent
	}
	return err == nil && strings.HasPrefix(strings.ToLower(answer), "y"), err
}

// warn says something, and ends the program, without an error, where a person does not want to go on.
func (t *oldRun) warn(ctx context.Context, message string) error {
	fmt.Fprintln(t.err, message)
	if t.o.batch {
		return nil
	}
	yes, err := t.ask(ctx, "Are you sure you want to continue? [y/N]", &oldError{oldPrompt, errors.New("timed out waiting for user input")})
	if err == nil && !yes {
		return &oldError{0, nil}
	}
	return err
}

// fileOption refuses what is no file.
func fileOption(name, path string) error {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return parameter("--%s has invalid value '%s': File does not exist or is not a file.", name, path)
	}
	return nil
}

func directoryOption(name, path string) error {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return parameter("--%s has invalid value '%s': Directory does not exist or is not a directory.", name, path)
	}
	return nil
}
