package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"ingot/internal/deploy/site"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/flow"
	"ingot/internal/recipe"
)

// line is a pipeline of an image, and how it is deployed.
type line struct {
	*recipe.Recipe
	flow    *flow.Pipeline
	prefix  string // of its resources' names, after the image's
	steps   string // name of the function that does its short steps
	role    string // name of the role of its state machine
	cron    string // when it runs; "" for never by itself
	field   string // where the recipe says so
	late    time.Duration
	machine string // what its state machine is, for people
}

// gateSuffix is what the name of the activity where an image waits to be approved has behind the image's.
const gateSuffix = "-approve"

// lines are the pipelines of an image: the one that makes it, and its upkeep, if there is any.
func lines(r *recipe.Recipe) []line {
	all := []line{{Recipe: r, flow: factory.Pipeline(r), steps: "StepsFunction", role: "MachineRole", cron: r.Schedule.Cron, field: "schedule", late: r.Schedule.Late(), machine: "state machine of " + r.Name}}
	if cron := r.Schedule.Looks(); cron != "" {
		all = append(all, line{Recipe: r, flow: factory.Upkeep(r), prefix: "Upkeep", steps: "UpkeepFunction", role: "UpkeepMachineRole", cron: cron, field: "schedule.upkeep", late: r.Schedule.LooksLate(),
			machine: "state machine of the upkeep of " + r.Name})
	}
	return all
}

// looking are the recipes that have upkeep.
func (o *Options) looking() (all []*recipe.Recipe) {
	for _, r := range o.Recipes {
		if r.Schedule.Looks() != "" {
			all = append(all, r)
		}
	}
	return all
}

// add adds what the line has of its own. in is what its runs are told.
func (l line) add(all, outputs object, in factory.Input) error {
	names := func(what string) string { return logical(l.Name, l.prefix+what) }
	if _, twice := all[names("Machine")]; twice {
		return l.Refuse("name", "another image, or the upkeep of one, is called the same but for dashes and dots")
	}
	substitutions := object{"Function": attribute(l.steps, "Arn")}
	activity := func(what, name string) {
		substitutions[what] = ref(names(what))
		all[names(what)] = object{"Type": "AWS::StepFunctions::Activity", "Properties": object{"Name": sub("${AWS::StackName}-" + name), "Tags": tagged()}}
	}
	if l.flow.NeedsMachine() {
		activity("Activity", site.Slug(l.flow.Name))
		outputs[names("Activity")] = object{"Value": ref(names("Activity")), "Description": "for ingot worker --activity"}
	}
	if slices.ContainsFunc(l.flow.Steps, func(s flow.Step) bool { return s.Gate }) {
		activity("Gate", l.Name+gateSuffix)
	}
	definition, err := asl.Machine(l.flow, asl.Options{Function: "${Function}", Activity: "${Activity}", Gate: "${Gate}"})
	if err != nil {
		return err
	}
	all[names("Machine")] = object{"Type": "AWS::StepFunctions::StateMachine", "Properties": object{"StateMachineName": sub("${AWS::StackName}-" + site.Slug(l.flow.Name)), "RoleArn": attribute(l.role, "Arn"),
		"Definition": json.RawMessage(definition), "DefinitionSubstitutions": substitutions, "Tags": tagged()}}
	outputs[names("Machine")] = object{"Value": ref(names("Machine")), "Description": l.machine}
	for _, metric := range []string{"ExecutionsFailed", "ExecutionsTimedOut"} {
		all[names(metric)] = alarm(l.flow.Name+": "+metric, "AWS/States", metric, 1, object{"Name": "StateMachineArn", "Value": ref(names("Machine"))})
	}
	if l.cron == "" {
		return nil
	}
	due, err := l.schedule(ref(names("Machine")), in)
	all[names("Schedule")] = due
	return err
}

// schedule has EventBridge start the line's runs.
func (l line) schedule(machine object, in factory.Input) (object, error) {
	expression, err := cronExpression(l.Recipe, l.field, l.cron)
	if err != nil {
		return nil, err
	}
	input, err := json.Marshal(object{"input": struct {
		factory.Input
		Cause string `json:"cause"`
	}{in, "schedule"}})
	if err != nil {
		return nil, err
	}
	window := object{"Mode": "OFF"}
	if l.late >= time.Minute {
		window = object{"Mode": "FLEXIBLE", "MaximumWindowInMinutes": min(int(l.late.Minutes()), 1440)}
	}
	zone := l.Schedule.Zone
	if zone == "" {
		zone = "UTC"
	}
	return object{"Type": "AWS::Scheduler::Schedule", "Properties": object{"Description": fmt.Sprintf("ingot: %s, %s", l.flow.Name, l.cron), "ScheduleExpression": expression, "ScheduleExpressionTimezone": zone,
		"FlexibleTimeWindow": window, "Target": object{"Arn": machine, "RoleArn": attribute("ScheduleRole", "Arn"), "Input": string(input)}}}, nil
}
