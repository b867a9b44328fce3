package region

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

type reservationXML struct {
	ID        string            `xml:"reservationId"`
	Owner     string            `xml:"ownerId"`
	Groups    struct{}          `xml:"groupSet"`
	Instances list[instanceXML] `xml:"instancesSet"`
}

func (a *area) reservation(instances ...*instance) reservationXML {
	x := reservationXML{ID: instances[0].Reservation, Owner: a.r.opt.AccountID}
	for _, i := range instances {
		x.Instances.Items = append(x.Instances.Items, a.instanceXML(i))
	}
	return x
}

// place orders instances by their launch.
func (i *instance) place() string {
	return fmt.Sprintf("%s %s %05d", stamp(i.Launched), i.Reservation, i.LaunchIndex)
}

// described returns the instances that can be seen, in the order of their launch, and forgets those that
// ended long ago.
func (a *area) described(ids []string) ([]*instance, error) {
	for id, i := range a.instances.rows {
		if i.State == stateTerminated && a.r.opt.Now().Sub(i.Ended) > remembered {
			if err := a.instances.drop(id); err != nil {
				return nil, err
			}
		}
	}
	var all []*instance
	for _, id := range ids {
		i, err := a.instance(id)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	if len(ids) == 0 {
		for _, i := range a.instances.rows {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b *instance) int { return strings.Compare(a.place(), b.place()) })
	return all, nil
}

func (a *area) instance(id string) (*instance, error) {
	if !validID("i-", id) {
		return nil, errorf("InvalidInstanceID.Malformed", "Invalid id: \"%.100s\"", id)
	}
	if i := a.instances.rows[id]; i != nil {
		return i, nil
	}
	return nil, notFound(id)
}

type describeInstancesIn struct {
	dryRun
	paged
	Filters []filter `q:"Filter"`
	IDs     []string `q:"InstanceId"`
}

type describeInstancesOut struct {
	reply
	Reservations list[reservationXML] `xml:"reservationSet"`
	Next         string               `xml:"nextToken,omitempty"`
}

func (a *area) describeInstances(in *describeInstancesIn) (*describeInstancesOut, error) {
	all, err := a.described(in.IDs)
	if err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	all, err = choose(all, in.Filters, func(i *instance, name string) ([]string, bool) {
		return a.instanceXML(cmp.Or(i, &instance{})).attr(name)
	})
	if err != nil {
		return nil, err
	}
	out := &describeInstancesOut{}
	if all, out.Next, err = page(a.r, "DescribeInstances", in.paged, 5, len(in.IDs) > 0, all, (*instance).place); err != nil {
		return nil, err
	}
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(i *instance) bool { return i.Reservation != all[0].Reservation })
		if n < 0 {
			n = len(all)
		}
		out.Reservations.Items = append(out.Reservations.Items, a.reservation(all[:n]...))
		all = all[n:]
	}
	return out, nil
}

type describeInstanceStatusIn struct {
	dryRun
	paged
	Filters    []filter `q:"Filter"`
	IDs        []string `q:"InstanceId"`
	IncludeAll bool     `q:"IncludeAllInstances"`
}

type checkXML struct {
	Status  string `xml:"status"`
	Details []struct {
		Name   string `xml:"name"`
		Status string `xml:"status"`
	} `xml:"details>item,omitempty"`
}

type instanceStatusXML struct {
	ID       string   `xml:"instanceId"`
	Zone     string   `xml:"availabilityZone"`
	State    stateXML `xml:"instanceState"`
	System   checkXML `xml:"systemStatus"`
	Instance checkXML `xml:"instanceStatus"`
}

type describeInstanceStatusOut struct {
	reply
	Statuses list[instanceStatusXML] `xml:"instanceStatusSet"`
	Next     string                  `xml:"nextToken,omitempty"`
}

func newCheck(status, detail string) checkXML {
	x := checkXML{Status: status}
	if detail != "" {
		x.Details = append(x.Details, struct {
			Name   string `xml:"name"`
			Status string `xml:"status"`
		}{"reachability", detail})
	}
	return x
}

// statusXML says how an instance is: the system check passes with the machine running, the instance check
// once the guest has answered on its SSH port.
func (i *instance) statusXML() instanceStatusXML {
	x := instanceStatusXML{ID: i.ID, Zone: i.Zone, State: newState(i.State), System: newCheck("not-applicable", ""), Instance: newCheck("not-applicable", "")}
	if i.State == stateRunning {
		x.System, x.Instance = newCheck("ok", "passed"), newCheck("initializing", "initializing")
		if !i.Reachable.IsZero() {
			x.Instance = newCheck("ok", "passed")
		}
	}
	return x
}

func (x instanceStatusXML) attr(name string) ([]string, bool) {
	v, ok := map[string]string{"availability-zone": x.Zone, "instance-state-name": x.State.Name, "instance-state-code": strconv.Itoa(x.State.Code),
		"instance-status.status": x.Instance.Status, "system-status.status": x.System.Status}[name]
	return []string{v}, ok
}

func (a *area) describeInstanceStatus(in *describeInstanceStatusIn) (*describeInstanceStatusOut, error) {
	instances, err := a.described(in.IDs)
	if err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(instances, func(i *instance) bool { return !in.IncludeAll && i.State != stateRunning })
	all, err = choose(all, in.Filters, func(i *instance, name string) ([]string, bool) {
		return cmp.Or(i, &instance{}).statusXML().attr(name)
	})
	if err != nil {
		return nil, err
	}
	out := &describeInstanceStatusOut{}
	all, out.Next, err = page(a.r, "DescribeInstanceStatus", in.paged, 5, len(in.IDs) > 0, all, (*instance).place)
	for _, i := range all {
		out.Statuses.Items = append(out.Statuses.Items, i.statusXML())
	}
	return out, err
}

type getConsoleOutputIn struct {
	dryRun
	ID     string `q:"InstanceId"`
	Latest bool   `q:"Latest"` // what is returned is always the latest
}

type getConsoleOutputOut struct {
	reply
	ID        string `xml:"instanceId"`
	Timestamp string `xml:"timestamp"`
	Output    string `xml:"output"`
}

func (a *area) getConsoleOutput(in *getConsoleOutputIn) (*getConsoleOutputOut, error) {
	if in.ID == "" {
		return nil, missing("InstanceId")
	}
	i, err := a.instance(in.ID)
	if err != nil {
		return nil, err
	}
	if err := in.dry(); err != nil {
		return nil, err
	}
	out := &getConsoleOutputOut{ID: i.ID, Timestamp: stamp(a.r.opt.Now())}
	if i.live != nil {
		text, at := i.live.console.last()
		out.Output = base64.StdEncoding.EncodeToString(text)
		if !at.IsZero() {
			out.Timestamp = stamp(at)
		}
	}
	return out, nil
}
