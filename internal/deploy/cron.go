package deploy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"ingot/internal/recipe"
)

var dayNumber = regexp.MustCompile(`\d+`)

// cronExpression writes a cron expression of a recipe, which has it in a field, as EventBridge Scheduler takes it: with a year, Sunday as
// 1, and a ? for the days that do not matter (https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html).
func cronExpression(r *recipe.Recipe, field, cron string) (string, error) {
	if strings.HasPrefix(cron, "@") {
		return "", r.Refuse(field, "EventBridge knows no %s: write five fields", cron)
	}
	f := strings.Fields(cron)
	if len(f) != 5 {
		return "", r.Refuse(field, "%q does not have five fields", cron)
	}
	days, weekdays := f[2], f[4]
	switch {
	case weekdays == "*" || weekdays == "?":
		weekdays = "?"
	case days == "*" || days == "?":
		days = "?"
	default:
		return "", r.Refuse(field, "%q has days of the month and of the week, and EventBridge takes one of them", cron)
	}
	// The number after a slash is a step, not a day.
	day, step, _ := strings.Cut(weekdays, "/")
	day = dayNumber.ReplaceAllStringFunc(day, func(n string) string {
		d, _ := strconv.Atoi(n) // digits alone
		return strconv.Itoa(d%7 + 1)
	})
	if step != "" {
		day += "/" + step
	}
	return fmt.Sprintf("cron(%s %s %s %s %s *)", f[0], f[1], days, f[3], strings.ToUpper(day)), nil
}
