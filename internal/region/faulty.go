package region

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"time"

	"ingot/internal/region/faults"
)

// Event is a call that the region answers, as Options.Watch sees it.
type Event struct {
	faults.Call
	Done bool   // it was answered; the reply was not sent yet
	Code string // the code of the refusal, "" for none
}

// refusals are a service's words for what rules of faults do to a call.
type refusals struct {
	throttled, unavailable apiError
	forbidden              apiError          // its message is the beginning of one
	permissions            map[string]string // what actions are called in policies, where that is something else
}

// SetFaults puts rules in force in place of those before.
func (r *Region) SetFaults(rules ...faults.Rule) error { return r.faults.Replace(rules) }

func (r *Region) startFaults() error {
	path := r.opt.FaultsFile
	if path == "" {
		return r.faults.Replace(r.opt.Faults)
	}
	if err := r.faults.Load(path); err != nil {
		return err
	}
	r.work.Go(func() {
		r.faults.Follow(r.ctx, path, 500*time.Millisecond, func(err error) { r.opt.Log.Error("following the file of faults", "error", err) })
	})
	return nil
}

// answer serves a call, if no fault comes between. Where the client is to get no reply, it panics with
// http.ErrAbortHandler, which closes the connection.
func (r *Region) answer(w http.ResponseWriter, req *request, svc service, name string) error {
	call := faults.Call{Region: req.area.name, Service: name, Action: svc.action(req)}
	r.watch(Event{Call: call})
	req.effect = r.faults.Meet(call)
	held := &heldReply{header: http.Header{}}
	err := r.meet(req, svc, call)
	switch {
	case err != nil:
	case r.opt.Watch == nil && !req.effect.LostReply:
		return svc.serve(w, req)
	default:
		err = svc.serve(held, req)
	}
	event := Event{Call: call, Done: true}
	if err != nil {
		event.Code = svc.denied(err).Code
	}
	if ae, ok := err.(*apiError); ok { //nolint:errorlint // as they are made here
		event.Code = ae.Code
	}
	r.watch(event)
	if req.effect.LostReply {
		panic(http.ErrAbortHandler)
	}
	if err == nil {
		held.send(w)
	}
	return err
}

func (r *Region) watch(e Event) {
	if r.opt.Watch != nil {
		r.opt.Watch(e)
	}
}

// meet lets a call's faults come before it. Its error is the refusal.
func (r *Region) meet(req *request, svc service, call faults.Call) error {
	e := req.effect
	if e.Down == faults.Reset {
		panic(http.ErrAbortHandler)
	}
	if e.Slow > 0 {
		wait(req.Context(), e.Slow)
	}
	words := svc.refusals()
	switch {
	case e.Down == faults.Unavailable:
		return &words.unavailable
	case e.Denied:
		permission := call.Service + ":" + cmp.Or(words.permissions[call.Action], call.Action)
		refusal := words.forbidden
		refusal.Message += "User: " + req.area.caller() + " is not authorized to perform: " + permission + " on resource: * because no identity-based policy allows the " +
			permission + " action"
		return &refusal
	case e.Throttled:
		return &words.throttled
	case e.Error != nil:
		return &apiError{Status: cmp.Or(e.Error.Status, http.StatusBadRequest), Code: e.Error.Code, Message: cmp.Or(e.Error.Message, "A rule says so.")}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// heldReply keeps a reply back.
type heldReply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *heldReply) Header() http.Header         { return h.header }
func (h *heldReply) WriteHeader(status int)      { h.status = cmp.Or(h.status, status) }
func (h *heldReply) Write(p []byte) (int, error) { return h.body.Write(p) }

func (h *heldReply) send(w http.ResponseWriter) {
	for name, values := range h.header {
		w.Header()[name] = values
	}
	w.WriteHeader(cmp.Or(h.status, http.StatusOK))
	_, err := w.Write(h.body.Bytes())
	_ = err // the client has gone: there is nobody left to tell
}

// begin takes an area's lock for a call, with the faults that act on it. What it returns gives the lock back.
func (a *area) begin(r *request) func() {
	a.mu.Lock()
	a.effect = r.effect
	return func() {
		a.effect = faults.Effect{}
		a.mu.Unlock()
	}
}

// hide keeps a new object from being seen for as long as the call's fault says.
func (a *area) hide(id string, isNew bool) {
	if isNew && a.effect.Lag > 0 {
		a.hidden[id] = a.r.opt.Now().Add(a.effect.Lag)
	}
}

// visible says whether an object can be seen yet.
func (a *area) visible(id string) bool {
	until, hidden := a.hidden[id]
	if hidden && !a.r.opt.Now().Before(until) {
		delete(a.hidden, id)
		hidden = false
	}
	return !hidden
}

// staleImage is what an image was before its last change, which is not seen yet.
type staleImage struct {
	image *image
	until time.Time
}

// changeSeen keeps a new image, or the change of one, from being seen for as long as the call's fault says.
func (a *area) changeSeen(id string, old *image) {
	a.hide(id, old == nil)
	if old != nil && a.effect.Lag > 0 {
		a.stale[id] = staleImage{old, a.r.opt.Now().Add(a.effect.Lag)}
	}
}

// seen returns an image as it is seen.
func (a *area) seen(i *image) *image {
	s, ok := a.stale[i.ID]
	switch {
	case !ok:
		return i
	case a.r.opt.Now().Before(s.until):
		return s.image
	}
	delete(a.stale, i.ID)
	return i
}

// settleLater makes a new image pending for as long as the call's fault says.
func (a *area) settleLater(i *image) {
	if e := a.effect; i.State == imageAvailable && (e.Pending > 0 || e.Fail) {
		i.State, i.Ready, i.Fails = statePending, a.r.opt.Now().Add(e.Pending), e.Fail
	}
}

// settled returns an image, which is no longer pending if its time has come.
func (a *area) settled(i *image) *image {
	if i.State != statePending || i.Ready.IsZero() || a.r.opt.Now().Before(i.Ready) {
		return i
	}
	next := *i
	if next.State = imageAvailable; i.Fails {
		next.State, next.Reason = imageFailed, "A rule of faults says so"
	}
	if err := a.images.put(i.ID, &next); err != nil {
		a.r.opt.Log.Error("recording an image", "image", i.ID, "error", err)
		return i
	}
	return &next
}
