package deploy

import (
	"fmt"
	"time"

	"ingot/internal/factory/schedule"
	"ingot/internal/recipe"
)

// Prices are list prices of us-east-1 in US dollars, as AWS published them in November 2026. Those of other regions, and discounts,
// differ.
var prices = struct {
	machine     float64 // an hour of c7i.xlarge at the full price; spot is less
	disk        float64 // GiB and month of gp3
	snapshot    float64 // GiB and month
	transition  float64 // of a state machine
	functions   float64 // GiB and second of Lambda, x86_64
	alarm       float64 // a month
	putSnapshot float64 // a block of EBS direct
}{0.1785, 0.08, 0.05, 0.000025, 0.0000166667, 0.10, 0.000006}

// Assumptions of an estimate, per run.
const (
	hoursOfRun       = 1.5  // with a boot test under TCG
	transitionsOfRun = 60   // and four for each region
	secondsOfRun     = 60   // of functions of 1 GiB, and ten for each region
	gibOfImage       = 1.0  // that means something
	sharePutAnew     = 0.15 // of its blocks, against the image before
	alarmsAlways     = 3
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
	for _, r := range o.Recipes {
		runs, err := runsOfMonth(r, now)
		if err != nil {
			return nil, err
		}
		regions := len(r.Publish.Regions)
		if regions == 0 {
			regions = 17 // those that need no opting in
		}
		n := float64(runs)
		add(n*hoursOfRun*(prices.machine+float64(o.Machine.Disk)*prices.disk/730), "%s: build machine, %d runs of %.1f hours, full price", r.Name, runs, hoursOfRun)
		add(n*(transitionsOfRun+4*float64(regions))*prices.transition, "%s: state machine", r.Name)
		add(n*float64(regions)*gibOfImage*2048*sharePutAnew*prices.putSnapshot, "%s: uploading to %d regions", r.Name, regions)
		add(n*float64(regions)*gibOfImage*sharePutAnew*prices.snapshot, "%s: snapshots of one month's images, more for each month that they are kept", r.Name)
		add(n*(secondsOfRun+10*float64(regions))*prices.functions, "%s: functions", r.Name)
		add(2*prices.alarm, "%s: alarms", r.Name)
	}
	add(30*24*6*5*0.25*prices.functions+alarmsAlways*prices.alarm, "reaper, and alarms")
	return all, nil
}

// runsOfMonth counts the runs of the next 30 days.
func runsOfMonth(r *recipe.Recipe, now time.Time) (n int, err error) {
	if r.Schedule.Cron == "" {
		return 0, nil
	}
	s, err := schedule.Parse(r.Name, r.Schedule.Cron, r.Schedule.Zone, 0)
	if err != nil {
		return 0, r.Refuse("schedule", "%v", err)
	}
	for t := s.Next(now); !t.IsZero() && t.Before(now.AddDate(0, 0, 30)); t = s.Next(t) {
		n++
	}
	return n, nil
}
