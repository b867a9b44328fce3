package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/fault"
	"ingot/internal/httpserve"
	"ingot/internal/web"
)

func (a *app) serveVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the catalogue: page and API",
		Long: `Serve the catalogue until Ctrl-C: a page for people at /, and for programs what docs/api.md describes: the paths of
the community's Arch Linux AMIs (/latest, /REGION/ARCH/TYPE/latest …), /v1 for all distributions with /v1/openapi.json, a feed,
/healthz, /readyz and /metrics. All of it is read-only. When the address serves a catalogue already, serve says so and is done.`,
		Args: args(0, 0, "no arguments"),
	}
	listen := cmd.Flags().String("listen", "127.0.0.1:8080", "`ADDRESS` to listen on")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", *listen)
		if err != nil {
			if servesAlready(cmd.Context(), *listen) {
				return a.say(map[string]string{"url": "http://" + *listen}, "The catalogue is being served already: http://%s", *listen)
			}
			return fault.New(fault.Exists, fmt.Errorf("listening on %s: %w", *listen, err), "stop what listens there, or choose another address with --listen")
		}
		store, err := a.catalog(cmd.Context())
		if err != nil {
			return errors.Join(err, l.Close())
		}
		fmt.Fprintf(a.out, "Serving the catalogue: http://%s (Ctrl-C stops it)\n", l.Addr())
		handler := web.Handler(store, web.Options{Version: Version, Failed: func(r *http.Request, err error) {
			a.reporter.Logf("%s %s: %v", r.Method, r.URL.Path, err)
		}})
		srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute,
			IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
		return httpserve.Serve(cmd.Context(), l, srv, 5*time.Second)
	}
	return cmd
}

// servesAlready asks whether a catalogue answers at an address.
func servesAlready(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/latest", nil)
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
