package deploy

import (
	"fmt"
	"slices"
	"time"

	"ingot/internal/disk"
	"ingot/internal/factory/schedule"
	"ingot/internal/publish/price"
)

// Rates are what is assumed that AWS asks in us-east-1, in US dollars: they come from no price list that could be read here, unlike
// those of package price, which has what publishing costs.
var rates = struct {
	machine    float64 // an hour of c7i.xlarge at the full price; spot is less
	disk       float64 // GiB and month of gp3
	transition float64 // of a state machine
	functions  float64 // GiB and second of Lambda, x86_64
	alarm      float64 // a month
}{0.18, 0.08, 0.000025, 0.0000167, 0.10}

// Assumptions of an estimate, per run.
const (
	hoursOfRun       = 1.5 // with a boot test under TCG
	transitionsOfRun = 60  // and four for each region
	secondsOfRun     = 60  // of functions of 1 GiB, and ten for each region
	blocksOfRun      = 300 // that differ from the image before
	defaultRegions   = 17  // those that need no opting in
	alarmsOfMachine  = 2

	transitionsOfUpkeep = 10  // of a run
	secondsOfUpkeep     = 60  // of a function of 1 GiB, and two for each region
	hoursOfUpkeep       = 0.3 // of a build machine, where there are PKGBUILDs
)

// Cost is a line of an estimate: what, and how many US dollars a month.
type Cost struct {
	What    string  `json:"what"`
	Dollars float64 `json:"dollars"`
}

// Estimate says what a deployment costs a month, from when on.
func Estimate(o Options, now time.Time) (all []Cost, err error) {
	add := func(dollars float64, format string, args ...any) {
		all = append(all, Cost{fmt.Sprintf(format, args...), dollars})
	}
	table, err := price.Load("")
	if err != nil {
		return nil, err
	}
	for _, r := range o.Recipes {
		line := lines(r)
		runs, err := line[0].runsOfMonth(now)
		if err != nil {
			return nil, err
		}
		machine := rates.machine + float64(o.Machine.Disk)*rates.disk/730 // an hour
		regions := r.Publish.Regions
		if len(regions) == 0 || slices.Contains(regions, "default") {
			regions = make([]string, defaultRegions)
		}
		var put price.Cost
		for _, region := range regions {
			put = put.Add(table.Upload(region, blocksOfRun, disk.BlockSize))
		}
		n, to := float64(runs), float64(len(regions))
		add(n*hoursOfRun*machine, "%s: build machine, %d runs of %.1f hours, full price", r.Name, runs, hoursOfRun)
		add(n*put.Once, "%s: uploading to %d regions", r.Name, len(regions))
		add(n*put.Monthly, "%s: snapshots of a month's images, as much again for each month that they are kept", r.Name)
		add(n*(transitionsOfRun+4*to)*rates.transition, "%s: state machine", r.Name)
		add(n*(secondsOfRun+10*to)*rates.functions, "%s: functions", r.Name)
		add(alarmsOfMachine*rates.alarm, "%s: alarms", r.Name)
		for _, l := range line[1:] {
			looks, err := l.runsOfMonth(now)
			if err != nil {
				return nil, err
			}
			one := transitionsOfUpkeep*rates.transition + (secondsOfUpkeep+2*to)*rates.functions
			if l.flow.NeedsMachine() {
				one += hoursOfUpkeep * machine
			}
			add(float64(looks)*one+alarmsOfMachine*rates.alarm, "%s: upkeep, %d runs, with its alarms; what it has rebuilt comes on top", r.Name, looks)
		}
	}
	add(30*24*6*5*0.25*rates.functions+float64(len(o.functionList()))*rates.alarm, "reaper, and alarms of functions")
	return all, nil
}

// runsOfMonth counts the runs of the next 30 days.
func (l line) runsOfMonth(now time.Time) (n int, err error) {
	if l.cron == "" {
		return 0, nil
	}
	s, err := schedule.Parse(l.flow.Name, l.cron, l.Schedule.Zone, 0)
	if err != nil {
		return 0, l.Refuse(l.field, "%v", err)
	}
	for t := s.Next(now); !t.IsZero() && t.Before(now.AddDate(0, 0, 30)); t = s.Next(t) {
		n++
	}
	return n, nil
}
