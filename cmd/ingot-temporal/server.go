package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"ingot/internal/cli"
	"ingot/internal/fault"
)

// server says where Temporal is.
type server struct {
	kit                *cli.Kit
	address, namespace string
	queue              string
	ca, cert, key      string
}

// machineQueue is the queue for steps that need a machine.
func (s *server) machineQueue() string { return s.queue + "-machine" }

func serverFlags(k *cli.Kit, cmd *cobra.Command) *server {
	s := &server{kit: k}
	cmd.Flags().StringVar(&s.address, "address", "", "`HOST:PORT` of the Temporal server (default $TEMPORAL_ADDRESS, or 127.0.0.1:7233)")
	cmd.Flags().StringVar(&s.namespace, "namespace", "", "`NAMESPACE` on it (default $TEMPORAL_NAMESPACE, or default)")
	cmd.Flags().StringVar(&s.queue, "queue", "ingot", "`NAME` of the task queue; steps that need a machine have another one, NAME-machine")
	cmd.Flags().StringVar(&s.ca, "tls-ca", "", "speak TLS, and trust the authorities in `FILE`")
	cmd.Flags().StringVar(&s.cert, "tls-cert", "", "speak TLS, with the client's certificate in `FILE`")
	cmd.Flags().StringVar(&s.key, "tls-key", "", "`FILE` of its private key")
	return s
}

// dial connects. $TEMPORAL_API_KEY is the key of an account, which goes through TLS alone.
func (s *server) dial(ctx context.Context) (client.Client, error) {
	o := client.Options{HostPort: first(s.address, os.Getenv("TEMPORAL_ADDRESS"), client.DefaultHostPort), Namespace: first(s.namespace, os.Getenv("TEMPORAL_NAMESPACE"), client.DefaultNamespace),
		Logger: &logger{logf: s.kit.Logf}}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	apiKey := os.Getenv("TEMPORAL_API_KEY")
	if s.ca != "" {
		text, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, fault.Newf(fault.Usage, "--tls-ca: %s holds no certificate", s.ca)
		}
	}
	if s.cert != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return nil, fault.Newf(fault.Usage, "--tls-cert: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if s.ca != "" || s.cert != "" || apiKey != "" {
		o.ConnectionOptions.TLS = conf
	}
	if apiKey != "" {
		o.Credentials = client.NewAPIKeyStaticCredentials(apiKey)
	}
	c, err := client.DialContext(ctx, o)
	if err != nil {
		return nil, fault.New(fault.Unreachable, fmt.Errorf("connecting to Temporal at %s: %w", o.HostPort, err), "see whether it runs there, or name another one with --address")
	}
	return c, nil
}

// with has a verb speak to the server.
func (s *server) with(do func(ctx context.Context, c client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer c.Close()
		return do(cmd.Context(), c, args)
	}
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// explain gives an error of the server a kind, and says what was attempted.
func explain(doing string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var missing *serviceerror.NotFound
	var denied *serviceerror.PermissionDenied
	var busy *serviceerror.WorkflowExecutionAlreadyStarted
	kind := fault.Unreachable
	switch {
	case errors.As(err, &missing):
		kind = fault.Missing
	case errors.As(err, &denied):
		kind = fault.Denied
	case errors.As(err, &busy):
		kind = fault.Exists
	}
	return fault.Newf(kind, "%s: %w", doing, err)
}

// logger passes on what the SDK warns of.
type logger struct {
	logf func(format string, args ...any)
}

func (l *logger) say(msg string, pairs []any) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if name := fmt.Sprint(pairs[i]); name == "Error" || name == "error" || name == "WorkflowID" || name == "ActivityType" {
			msg += fmt.Sprintf(" %s=%v", name, pairs[i+1])
		}
	}
	l.logf("temporal: %s", strings.TrimSpace(msg))
}

// Debug implements log.Logger of the SDK, as the following do.
func (l *logger) Debug(string, ...any) {}

// Info says what nobody asked for.
func (l *logger) Info(string, ...any) {}

// Warn passes on.
func (l *logger) Warn(msg string, pairs ...any) { l.say(msg, pairs) }

// Error passes on.
func (l *logger) Error(msg string, pairs ...any) { l.say(msg, pairs) }
