package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ingot/internal/pipeline"
	"ingot/internal/recipe"
	"ingot/internal/verify"
)

func (a *app) bootVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "boot RECIPE|ARTIFACT",
		Short: "Boot an image in QEMU, as EC2 would, and judge it",
		Long: `Boot an image in QEMU with EC2's instance metadata service (IMDSv2), a throwaway key pair and a disk larger
than the image; log in over SSH as the default user; judge the console by rules, and the guest by checks. Each
verdict goes to ARTIFACT/boot/FIRMWARE-BUS with the console log and, on failure, a screenshot.

A verdict that passed on the same bytes is not asked for twice; --again does. --keep leaves the machine running
until Ctrl-C, for ingot ssh. Exits with 10 when an image fails.`,
		Args: args(1, 1, "a recipe or the folder of an artifact"),
	}
	set := recipeFlags(cmd)
	out := outputFlag(cmd)
	var o pipeline.BootOptions
	firmware := cmd.Flags().StringSlice("firmware", nil, "bios, uefi (default: each that the disk has)")
	cmd.Flags().StringSliceVar(&o.Bus, "bus", nil, "nvme, virtio, scsi, ide (default nvme)")
	cmd.Flags().BoolVar(&o.Again, "again", false, "boot even if the same bytes have passed before")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave the machine running, for ingot ssh")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, f := range *firmware {
			o.Firmware = append(o.Firmware, recipe.Firmware(f))
		}
		art, r, err := artifactOf(args[0], *out, set)
		if err != nil {
			return err
		}
		if r != nil {
			o.Test = r.Test
		}
		f, err := a.foundry()
		if err != nil {
			return err
		}
		verdicts, err := f.Boot(cmd.Context(), art, o)
		a.settle()
		for _, v := range verdicts {
			a.sayVerdict(v)
		}
		return err
	}
	return cmd
}

func (a *app) sayVerdict(v *verify.Verdict) {
	if a.json {
		a.result("verdict", v)
		return
	}
	word := "passed"
	if !v.Passed {
		word = "FAILED: " + v.Reason
	}
	fmt.Fprintf(a.out, "%s %s/%s %s (%s, %.0f s)\n", v.Name, v.Firmware, v.Bus, word, v.Accel.Name, v.Seconds)
	for _, s := range v.Stages {
		if s.Seen {
			fmt.Fprintf(a.out, "  %7.1f s  %s\n", s.At, s.Name)
		}
	}
	for _, c := range v.Checks {
		if !c.Passed && !c.Skipped {
			fmt.Fprintf(a.out, "  ✗ %s: %s\n", c.Name, c.Detail)
		}
	}
	for _, x := range v.Findings {
		fmt.Fprintf(a.out, "  %s %s: %s\n", x.Severity, x.Rule, x.Line)
	}
}

func (a *app) sshVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ssh RECIPE|ARTIFACT [-- COMMAND...]",
		Short: "Log in to a machine that `ingot boot --keep` left running",
		Args:  args(1, -1, "a recipe or the folder of an artifact, and a command"),
	}
	set := recipeFlags(cmd)
	out := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		art, _, err := artifactOf(args[0], *out, set)
		if err != nil {
			return err
		}
		dir, err := art.Kept()
		if err != nil {
			return err
		}
		a.settle()
		err = verify.SSH(cmd.Context(), dir, args[1:], os.Stdin, a.out, a.err)
		var exit *verify.ExitError
		if errors.As(err, &exit) {
			return &exitError{exit.Status}
		}
		return err
	}
	return cmd
}
