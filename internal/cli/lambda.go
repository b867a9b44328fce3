package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"ingot/internal/catalog"
	"ingot/internal/deploy/activity"
	"ingot/internal/deploy/builder"
	"ingot/internal/deploy/depot"
	"ingot/internal/deploy/lambda"
	"ingot/internal/deploy/site"
	"ingot/internal/factory/asl"
	"ingot/internal/fault"
	"ingot/internal/progress"
	"ingot/internal/web"
)

// What a function of a deployment does is said by $INGOT_FUNCTION; $INGOT_DEPLOYMENT is a site.Config.
const (
	stepsFunction   = "steps"
	upkeepFunction  = "upkeep" // the same for other pipelines, with other permissions
	catalogFunction = "catalog"
	reaperFunction  = "reaper"
)

// lambdaMain is this program as a function of AWS Lambda. It prints to the function's log.
func lambdaMain(ctx context.Context, address string, log io.Writer) int {
	temp := os.TempDir() // all that a function may write to
	a := &app{out: log, err: log, cache: filepath.Join(temp, "cache"), state: filepath.Join(temp, "state")}
	a.reporter = progress.New(lines(log, false))
	f, err := a.function(ctx)
	if err == nil {
		err = lambda.Serve(ctx, address, f)
	}
	if ctx.Err() != nil {
		err = nil // Lambda ends what it needs no more
	}
	err = errors.Join(err, a.close())
	a.report(err)
	return fault.Exit(err)
}

// function returns what this function of a deployment does.
func (a *app) function(ctx context.Context) (lambda.Func, error) {
	var c site.Config
	if err := json.Unmarshal([]byte(os.Getenv("INGOT_DEPLOYMENT")), &c); err != nil {
		return nil, fault.Newf(fault.Input, "reading $INGOT_DEPLOYMENT: %w", err)
	}
	if os.Getenv("INGOT_FUNCTION") == catalogFunction {
		return a.catalogOnLambda(ctx, c.Catalog)
	}
	a.where = c.Catalog
	st, clients, err := a.station(ctx, &stationFlags{region: c.Region, depot: "s3://" + c.Bucket, site: os.Getenv("INGOT_SITE")})
	if err != nil {
		return nil, err
	}
	s := &site.Site{Config: c, SFN: activity.New(clients.Config(c.Region), os.Getenv("AWS_ENDPOINT_URL_SFN")), Builders: builder.New(clients.Config(c.Region), c.Machine),
		Depot: depot.New(clients.Config(c.Region), c.Bucket)}
	st.Cloud, st.Starter = s, s
	switch name := os.Getenv("INGOT_FUNCTION"); name {
	case stepsFunction, upkeepFunction:
		return func(ctx context.Context, event json.RawMessage) (any, *lambda.Error) {
			var r asl.Request
			if err := json.Unmarshal(event, &r); err != nil {
				return nil, &lambda.Error{Type: fault.Input.String(), Message: err.Error()}
			}
			res, failure := st.Do(ctx, &r)
			if failure != nil {
				kind, cause := failure.ErrorCause()
				return nil, &lambda.Error{Type: kind, Message: cause}
			}
			return res, nil
		}, nil
	case reaperFunction:
		return func(ctx context.Context, _ json.RawMessage) (any, *lambda.Error) {
			ended, launched, err := s.Reap(ctx, time.Now())
			if err != nil {
				return nil, &lambda.Error{Type: fault.KindOf(err).String(), Message: err.Error()}
			}
			return map[string]any{"ended": ended, "launched": launched}, nil
		}, nil
	default:
		return nil, fault.Newf(fault.Input, "$INGOT_FUNCTION is %q, which this ingot does not know", name)
	}
}

// catalogOnLambda serves the catalogue at a function URL.
func (a *app) catalogOnLambda(ctx context.Context, where string) (lambda.Func, error) {
	store, err := catalog.Open(ctx, where)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, store.Close)
	return lambda.HTTP(web.Handler(store, web.Options{Version: Version, Failed: func(r *http.Request, err error) {
		a.reporter.Logf("%s %s: %v", r.Method, r.URL.Path, err)
	}})), nil
}
