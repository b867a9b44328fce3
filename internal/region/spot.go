package region

import (
	"slices"

	"ingot/internal/fault"
)

// marketIn asks for an instance at another price than the full one.
type marketIn struct {
	Type string `q:"MarketType"`
	Spot struct {
		MaxPrice     string `q:"MaxPrice"` // nothing costs anything here
		Type         string `q:"SpotInstanceType"`
		Interruption string `q:"InstanceInterruptionBehavior"`
	} `q:"SpotOptions"`
}

const (
	spot           = "spot"
	spotTerminated = "Server.SpotInstanceTermination"
)

// check refuses what EC2 refuses, and requests for spot instances that come again, which are not modelled.
func (m marketIn) check() error {
	s := m.Spot
	switch {
	case m == marketIn{}:
		return nil
	case m.Type != spot:
		return errorf("InvalidParameterValue", "Invalid value '%.40s' for MarketType; the local region has spot", m.Type)
	case !slices.Contains([]string{"", "one-time", "persistent"}, s.Type):
		return errorf("InvalidParameterValue", "Invalid value '%.40s' for SpotInstanceType", s.Type)
	case !slices.Contains([]string{"", "terminate", "stop", "hibernate"}, s.Interruption):
		return errorf("InvalidParameterValue", "Invalid value '%.40s' for InstanceInterruptionBehavior", s.Interruption)
	case s.Type != "persistent" && s.Interruption != "" && s.Interruption != "terminate":
		return errorf("InvalidParameterCombination", "The instance interruption behavior '%s' is for persistent Spot Instance requests", s.Interruption)
	case s.Type == "persistent":
		return errorf("UnsupportedOperation", "The local region has one-time Spot Instance requests alone")
	}
	return nil
}

// newSpotRequest returns the id of a request for a spot instance: the part after the dash is shorter than in other ids.
func newSpotRequest() string { return newID("sir-")[:len("sir-")+8] }

// Interrupt takes a spot instance away, as EC2 does when somebody else pays the full price for its machine. There is no warning before.
func (r *Region) Interrupt(region, id string) error {
	a := r.areas[region]
	if a == nil {
		return fault.Newf(fault.Missing, "there is no region %s", region)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.instances.rows[id]
	if i == nil || i.SpotRequest == "" || i.State != stateRunning && i.State != statePending {
		return fault.Newf(fault.Missing, "%s has no spot instance %s that runs", region, id)
	}
	next := *i
	next.State, next.ReasonCode, next.Reason = stateShuttingDown, spotTerminated, spotTerminated+": Spot instance termination"
	if err := set(a.instances, i.ID, i, i, next); err != nil {
		return err
	}
	i.live.cancel() // its goroutine does the rest
	return nil
}
