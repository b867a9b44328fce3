// Package site is what a deployment does beside the steps of its pipelines: it has machines launched for runs, and ended.
package site

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"ingot/internal/deploy/builder"
	"ingot/internal/deploy/depot"
	"ingot/internal/fault"
	"ingot/internal/publish/inventory"
	"ingot/internal/publish/retry"
	"ingot/internal/recipe"
	"ingot/internal/shell"
)

// Config is what the deployment's template tells its functions, as JSON.
type Config struct {
	Stack     string       `json:"stack"`
	Region    string       `json:"region"`
	Bucket    string       `json:"bucket"`
	Catalog   string       `json:"catalog"`   // as catalog.Open takes it
	States    string       `json:"states"`    // what the ARNs of its state machines and activities begin with: arn:aws:states:REGION:ACCOUNT
	Pipelines []string     `json:"pipelines"` // those that need machines
	Program   string       `json:"program"`   // its key in the bucket
	Machine   builder.Spec `json:"machine"`
}

// Slug is what the state machine and the activity of a pipeline are called, after the name of the stack and a dash.
func Slug(pipeline string) string { return strings.ReplaceAll(pipeline, "/", "-") }

// MachineARN is that of a pipeline's state machine.
func (c *Config) MachineARN(pipeline string) string {
	return c.States + ":stateMachine:" + c.Stack + "-" + Slug(pipeline)
}

// ActivityARN is that of the activity by which workers take the steps of a pipeline.
func (c *Config) ActivityARN(pipeline string) string {
	return c.States + ":activity:" + c.Stack + "-" + Slug(pipeline)
}

// maxAge is how old a machine may get; idleAfter, how long it waits for a step.
const (
	maxAge    = 24 * time.Hour
	idleAfter = 30 * time.Minute
)

// Site implements station.Cloud and station.Starter.
type Site struct {
	Config   Config
	SFN      *sfn.Client
	Builders *builder.Builders
	Depot    *depot.Depot
}

// executions lists the runs of a state machine that are going on.
func (s *Site) executions(ctx context.Context, machine string) (all []types.ExecutionListItem, err error) {
	err = inventory.Pages(ctx, "states:ListExecutions", retry.Policy{}, func(ctx context.Context, token *string) (*string, error) {
		out, err := s.SFN.ListExecutions(ctx, &sfn.ListExecutionsInput{StateMachineArn: &machine, StatusFilter: types.ExecutionStatusRunning, NextToken: token})
		if err != nil {
			return nil, err
		}
		all = append(all, out.Executions...)
		return out.NextToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the runs of %s: %w", machine, err)
	}
	return all, nil
}

// Older implements station.Cloud.
func (s *Site) Older(ctx context.Context, machine, execution string) (string, error) {
	all, err := s.executions(ctx, machine)
	if err != nil {
		return "", err
	}
	var own time.Time
	for _, e := range all {
		if aws.ToString(e.ExecutionArn) == execution {
			own = aws.ToTime(e.StartDate)
		}
	}
	for _, e := range all {
		began, arn := aws.ToTime(e.StartDate), aws.ToString(e.ExecutionArn)
		if arn != execution && (own.IsZero() || began.Before(own) || began.Equal(own) && arn < execution) {
			return aws.ToString(e.Name), nil
		}
	}
	return "", nil
}

// Start implements station.Starter.
func (s *Site) Start(ctx context.Context, r *recipe.Recipe, run string, told any) error {
	machine := s.Config.MachineARN(r.Name)
	running, err := s.executions(ctx, machine)
	if err != nil {
		return err
	}
	for _, e := range running { // perhaps this very run, started by an attempt of which nobody heard
		if other := aws.ToString(e.Name); other != run {
			return fault.New(fault.Exists, fmt.Errorf("run %s of %s is not over", other, r.Name), "upkeep looks again when it is due next")
		}
	}
	text, err := json.Marshal(map[string]any{"input": told})
	if err != nil {
		return err
	}
	err = retry.Call(ctx, "states:StartExecution", retry.Policy{}, func(ctx context.Context) error {
		_, err := s.SFN.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &machine, Name: &run, Input: aws.String(string(text))})
		return err
	})
	if err != nil && retry.Code(err) != "ExecutionAlreadyExists" {
		return fmt.Errorf("starting run %s of %s: %w", run, r.Name, err)
	}
	return nil
}

// Launch implements station.Cloud.
func (s *Site) Launch(ctx context.Context, run, pipeline string) error {
	link, err := s.Depot.Link(ctx, s.Config.Program)
	if err != nil {
		return err
	}
	_, err = s.Builders.Launch(ctx, run, s.script(link, pipeline))
	return err
}

// Dismiss implements station.Cloud.
func (s *Site) Dismiss(ctx context.Context, run string) error { return s.Builders.Dismiss(ctx, run) }

// script is what a machine does when it boots. However it ends, the machine shuts down, which terminates it.
func (s *Site) script(link, pipeline string) string {
	c := s.Config
	return fmt.Sprintf(`#!/bin/sh
(sleep %d; shutdown -h now) &
trap 'shutdown -h now' EXIT
set -eu
if command -v apt-get; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	apt-get install -q -y --no-install-recommends ca-certificates curl qemu-system-x86 qemu-utils ovmf
elif command -v pacman; then
	pacman -Syu --noconfirm --needed curl qemu-system-x86 qemu-img edk2-ovmf
fi
mkdir -p /var/lib/ingot
cd /var/lib/ingot
curl -fsS --retry 5 -o ingot %s
chmod 755 ingot
HOME=/root INGOT_CACHE=/var/lib/ingot/cache INGOT_STATE=/var/lib/ingot/state ./ingot worker --quiet \
	--activity %s --region %s --bucket %s --catalog %s --idle %s
`, int(maxAge.Seconds()), shell.Quote(link), shell.Quote(c.ActivityARN(pipeline)), shell.Quote(c.Region), shell.Quote(c.Bucket), shell.Quote(c.Catalog), idleAfter)
}

// Reap ends the machines that no run needs, and launches new ones for runs that lost theirs.
func (s *Site) Reap(ctx context.Context, now time.Time) (ended []string, launched []string, err error) {
	pipelines := map[string]string{}
	var alive []string
	for _, pipeline := range s.Config.Pipelines {
		all, err := s.executions(ctx, s.Config.MachineARN(pipeline))
		if err != nil {
			return nil, nil, err
		}
		for _, e := range all {
			run := aws.ToString(e.Name)
			pipelines[run] = pipeline
			alive = append(alive, run)
		}
	}
	ended, bereft, err := s.Builders.Reap(ctx, now, maxAge, alive)
	if err != nil {
		return ended, nil, err
	}
	for _, run := range bereft {
		if err := s.Launch(ctx, run, pipelines[run]); err != nil {
			return ended, launched, err
		}
		launched = append(launched, run)
	}
	return ended, launched, nil
}
