package region

import "context"

type instancesIn struct {
	dryRun
	IDs []string `q:"InstanceId"`
}

type stateChangeXML struct {
	ID       string   `xml:"instanceId"`
	Current  stateXML `xml:"currentState"`
	Previous stateXML `xml:"previousState"`
}

type stateChangesOut struct {
	reply
	Changes list[stateChangeXML] `xml:"instancesSet"`
}

// change changes the state of instances. check says which cannot be changed, before any is. do changes a copy of one, and returns what
// is to be done, if anything, once that is written down.
func (a *area) change(in *instancesIn, check func(*instance) error, do func(i, next *instance) func()) (*stateChangesOut, error) {
	all, err := a.named(in, check)
	if err != nil {
		return nil, err
	}
	out := &stateChangesOut{}
	for _, i := range all {
		before, next := i.State, *i
		then := do(i, &next)
		if err := set(a.instances, i.ID, i, i, next); err != nil {
			return nil, err
		}
		if then != nil {
			then()
		}
		out.Changes.Items = append(out.Changes.Items, stateChangeXML{i.ID, newState(i.State), newState(before)})
	}
	return out, nil
}

// named returns the instances of a request, if all of them pass a check.
func (a *area) named(in *instancesIn, check func(*instance) error) ([]*instance, error) {
	if len(in.IDs) == 0 {
		return nil, missing("InstanceId")
	}
	all, err := a.described(in.IDs)
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if err := check(i); err != nil {
			return nil, err
		}
	}
	return all, in.dry()
}

const userShutdown = "Client.UserInitiatedShutdown"

func (a *area) terminateInstances(in *instancesIn) (*stateChangesOut, error) {
	check := func(i *instance) error {
		if i.Protected && i.State != stateTerminated {
			return errorf("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", i.ID)
		}
		return nil
	}
	return a.change(in, check, func(i, next *instance) func() {
		const reason = userShutdown + ": User initiated shutdown"
		switch i.State {
		case statePending, stateRunning, stateStopping:
			next.State, next.ReasonCode, next.Reason = stateShuttingDown, userShutdown, reason
			return i.live.cancel // its goroutine does the rest
		case stateStopped:
			next.terminated(a.r.opt.Now(), userShutdown, reason)
			return func() { a.release(i) }
		}
		return nil
	})
}

type stopInstancesIn struct {
	instancesIn
	Force     bool `q:"Force"`
	Hibernate bool `q:"Hibernate"`
}

func (a *area) stopInstances(in *stopInstancesIn) (*stateChangesOut, error) {
	check := func(i *instance) error {
		switch {
		case in.Hibernate:
			return errorf("UnsupportedHibernationConfiguration", "The instance '%s' was not launched with hibernation enabled", i.ID)
		case i.Location != "":
			return errorf("UnsupportedOperation", "The instance '%s' does not have an 'ebs' root device type and cannot be stopped", i.ID)
		case i.SpotRequest != "":
			return errorf("UnsupportedOperation", "You can't stop the Spot Instance '%s' because it is associated with a one-time Spot Instance request. "+
				"You can only stop Spot Instances associated with persistent Spot Instance requests.", i.ID)
		case i.State == stateTerminated, i.State == stateShuttingDown, i.State == statePending:
			return errorf("IncorrectInstanceState", "This instance '%s' is not in a state from which it can be stopped.", i.ID)
		}
		return nil
	}
	return a.change(&in.instancesIn, check, func(i, next *instance) func() {
		running := i.State == stateRunning
		if running {
			next.State, next.ReasonCode, next.Reason = stateStopping, userShutdown, userShutdown+": User initiated shutdown"
		}
		return func() {
			if running {
				i.live.button <- struct{}{} // there is room for this press, and no other
			}
			if i.State == stateStopping && in.Force {
				i.live.cancel()
			}
		}
	})
}

type startInstancesIn struct {
	instancesIn
	AdditionalInfo string `q:"AdditionalInfo"` // reserved, at EC2
}

func (a *area) startInstances(in *startInstancesIn) (*stateChangesOut, error) {
	check := func(i *instance) error {
		switch {
		case i.State == statePending, i.State == stateRunning:
			return nil
		case i.State != stateStopped:
			return errorf("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be started.", i.ID)
		case a.root(i) == nil:
			return errorf("InvalidParameterValue", "Invalid value '%s' for instanceId. Instance does not have a volume attached at root (%s)", i.ID, i.RootDevice)
		}
		if _, err := lookupType(i.Type); err != nil {
			return err
		}
		return a.noMachines()
	}
	return a.change(&in.instancesIn, check, func(i, next *instance) func() {
		if i.State != stateStopped {
			return nil
		}
		next.State, next.ReasonCode, next.Reason, next.PublicIP, next.Launched = statePending, "", "", a.loopback(), a.r.opt.Now()
		t, _ := lookupType(i.Type) // check has seen that it is there
		return func() { a.launch(i, t, true) }
	})
}

// noMachines refuses to run one where the region was opened without the means.
func (a *area) noMachines() error {
	if a.r.opt.Machines == nil {
		return errorf("Unsupported", "The requested configuration is currently not supported: this local region runs no machines")
	}
	return nil
}

// rebootInstances cuts the guests' power and switches it on again, at once; EC2 asks them first.
func (a *area) rebootInstances(in *instancesIn) (*done, error) {
	all, err := a.named(in, func(i *instance) error {
		if i.State != stateRunning {
			return errorf("IncorrectInstanceState", "The instance '%s' is not in the 'running' state.", i.ID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		l := i.live
		a.r.work.Go(func() { a.reset(i, l) })
	}
	return &done{Return: true}, nil
}

func (a *area) reset(i *instance, l *live) {
	l.ops.Lock()
	defer l.ops.Unlock()
	if l.machine == nil {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, plugLimit)
	defer cancel()
	if err := l.machine.Reset(ctx); err != nil {
		a.r.opt.Log.Error("rebooting an instance", "instance", i.ID, "error", err)
	}
}
