package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ingot/internal/factory"
	"ingot/internal/httpserve"
	"ingot/internal/pipeline"
	"ingot/internal/web"
)

func (a *app) serveVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve [RECIPE...]",
		Short: "Serve the catalogue: page and API; run pipelines when they are due",
		Long: `Serve the catalogue until Ctrl-C: a page for people at /, and for programs what docs/api.md describes: the paths of
the community's Arch Linux AMIs (/latest, /REGION/ARCH/TYPE/latest …), /v1 for all distributions with /v1/openapi.json, a feed,
/healthz, /readyz and /metrics. All of it is read-only. When the address serves a catalogue already, serve says so and is done.

With recipes, it also runs their pipelines (see ingot run) whenever their schedule: says so, and those that ingot run
orders; and once a day, or when upkeep: says so, it looks for newer packages of the published images, which shows on
their pages, and retires what is old. What was missed while it did not run is made up for once. Stopped in the middle of a run, it goes on with
that when it is started again. One process at a time does this for a state folder.`,
		Args: args(0, -1, "recipes"),
	}
	listen := cmd.Flags().String("listen", "127.0.0.1:8080", "`ADDRESS` to listen on")
	f := addLineFlags(cmd)
	cmd.Flags().IntVar(&f.disableAfter, "disable-after", 3, "start an image no more after so `MANY` failures in a row (0: never give up)")
	work := a.asRoot(func(cmd *cobra.Command, args []string) error { return a.serveLines(cmd.Context(), f, *listen, args) })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return work(cmd, args)
		}
		return a.serveCatalog(cmd.Context(), *listen)
	}
	return cmd
}

// serveCatalog serves the catalogue alone. What it keeps is small, and what a request needs is soon rubbish: collecting that half as
// often, for some MiB more, makes the slowest answers a third faster.
func (a *app) serveCatalog(ctx context.Context, address string) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	l, err := pipeline.Listen(ctx, address)
	if err != nil {
		if servesAlready(ctx, address) {
			return a.say(map[string]string{"url": "http://" + address}, "The catalogue is being served already: http://%s", address)
		}
		return err
	}
	return a.serveOn(ctx, l, nil, "")
}

// serveLines serves the catalogue, and drives the pipelines of recipes beside that.
func (a *app) serveLines(ctx context.Context, f *lineFlags, address string, paths []string) error {
	lines, err := f.lines(paths)
	if err != nil {
		return err
	}
	images := len(lines)
	for _, l := range lines[:images] {
		upkeep, ok, err := factory.UpkeepLine(l)
		if err != nil {
			return err
		}
		if ok {
			lines = append(lines, upkeep)
		}
	}
	j, err := a.journal(ctx)
	if err != nil {
		return err
	}
	release, err := j.Hold("ingot serve")
	if err != nil {
		return err
	}
	defer release()
	p, err := a.plant(ctx, f, lines, j)
	if err != nil {
		return err
	}
	l, err := pipeline.Listen(ctx, address)
	if err != nil {
		return err
	}
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		return a.serveOn(ctx, l, j, fmt.Sprintf(", with the pipelines of %s", count(images, "image")))
	})
	both.Go(func() error { return p.Run(ctx) })
	return both.Wait()
}

// serveOn serves the catalogue, and the runs where there are any, until ctx ends.
func (a *app) serveOn(ctx context.Context, l net.Listener, runs web.Runs, with string) error {
	store, err := a.catalog(ctx)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	url := "http://" + l.Addr().String()
	if err := a.say(map[string]string{"url": url}, "Serving the catalogue%s: %s (Ctrl-C stops it)", with, url); err != nil {
		return errors.Join(err, l.Close())
	}
	handler := web.Handler(store, web.Options{Version: Version, Runs: runs, Failed: func(r *http.Request, err error) {
		a.reporter.Logf("%s %s: %v", r.Method, r.URL.Path, err)
	}})
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	return httpserve.Serve(ctx, l, srv, 5*time.Second)
}

// servesAlready asks whether a catalogue answers at an address.
func servesAlready(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(rq)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return err == nil && resp.StatusCode == http.StatusOK && resp.Header.Get("Server") == web.ServerName
}
