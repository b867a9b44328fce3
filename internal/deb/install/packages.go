package install

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"ingot/internal/progress"
)

// openPackages reads the control part of every package and resolves their dependencies.
func (in *installer) openPackages(ctx context.Context) error {
	in.pkgs = make([]*pkg, len(in.Lock.Packages))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(in.jobs())
	for i, l := range in.Lock.Packages {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := &pkg{Package: l, archive: in.File(l), ready: make(chan error, 1)}
			var err error
			if p.content, err = openPackage(in.store, l, p.archive); err != nil {
				return err
			}
			in.pkgs[i] = p
			return p.Matches(p.archive, p.fields.Get("Package"), p.fields.Get("Version"), p.fields.Get("Architecture"))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	in.env = scriptEnv(in.Lock, in.pkgs)
	return link(in.pkgs)
}

func (in *installer) jobs() int {
	if in.Jobs > 0 {
		return in.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

// expandAll expands the packages beside everything else, those named first before the others. One worker
// takes the largest first all the while: the largest package, a kernel, takes as long as half of the rest,
// and must not be what everybody waits for in the end.
func (in *installer) expandAll(ctx context.Context, first []*pkg) *sync.WaitGroup {
	task := in.Task.Begin("expanding packages", int64(len(in.pkgs)), progress.Items)
	needed := slices.Concat(first, without(in.pkgs, first))
	largest := slices.Clone(needed)
	slices.SortStableFunc(largest, func(a, b *pkg) int { return cmp.Compare(b.Size, a.Size) })

	var mu sync.Mutex
	taken := make(map[*pkg]bool, len(needed))
	next := func(order []*pkg) *pkg {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range order {
			if !taken[p] {
				taken[p] = true
				return p
			}
		}
		return nil
	}
	var workers, all sync.WaitGroup
	for i := range in.jobs() {
		order := needed
		if i == 1 {
			order = largest
		}
		workers.Go(func() {
			for p := next(order); p != nil; p = next(order) {
				p.ready <- in.store.Load(ctx, p.Package, p.archive, p.content)
				task.Add(1)
			}
		})
	}
	all.Go(func() {
		workers.Wait()
		task.End(ctx.Err())
	})
	return &all
}

// await waits until a package is expanded.
func (p *pkg) await(ctx context.Context) error {
	if p.expanded {
		return nil
	}
	select {
	case err := <-p.ready:
		p.expanded = err == nil
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
