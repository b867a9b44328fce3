package region

import "time"

// What DescribeImages says of the protection from being deregistered.
const (
	protectionOff      = "disabled"
	protectionOn       = "enabled-without-cooldown"
	protectionCooldown = "enabled-with-cooldown"
	cooldown           = 24 * time.Hour
)

// Limits on a deprecation date.
const (
	maxDeprecation = 10 * 365 * 24 * time.Hour
	dateSlack      = 3 * 24 * time.Hour // leap days
)

// protection says whether the image is protected from being deregistered, in AWS's words.
func (i *image) protection(now time.Time) string {
	switch {
	case i.Protected && i.Cooldown == 0:
		return protectionOn
	case i.Protected, now.Before(i.Unprotected):
		return protectionCooldown
	}
	return protectionOff
}

type imageIn struct {
	dryRun
	ID string `q:"ImageId"`
}

// changeImage changes a copy of an image, and keeps it.
func (a *area) changeImage(i *image, in dryRun, change func(*image)) error {
	if err := in.dry(); err != nil {
		return err
	}
	next := *i
	change(&next)
	return a.images.put(i.ID, &next)
}

type enableImageDeprecationIn struct {
	imageIn
	At string `q:"DeprecateAt"`
}

func (a *area) enableImageDeprecation(in *enableImageDeprecationIn) (*done, error) {
	i, err := a.owned(in.ID)
	if err != nil {
		return nil, err
	}
	if in.At == "" {
		return nil, missing("DeprecateAt")
	}
	at, err := time.Parse(time.RFC3339Nano, in.At)
	if err != nil {
		return nil, errorf("InvalidParameterValue", "Invalid value '%.60s' for DeprecateAt; expected a time such as 2006-01-02T15:04:05Z", in.At)
	}
	at = at.Round(time.Minute)
	now := a.r.opt.Now()
	switch {
	case at.Before(now):
		return nil, errorf("InvalidParameterValue", "The date and time to deprecate the image, %s, is in the past", stamp(at))
	case at.After(now.Add(maxDeprecation + dateSlack)):
		return nil, errorf("InvalidParameterValue", "The date and time to deprecate the image, %s, is more than 10 years from now", stamp(at))
	case i.Public && at.After(i.Created.Add(publicLife+dateSlack)):
		return nil, errorf("InvalidParameterValue", "The date and time to deprecate the public image, %s, is more than 2 years after its creation", stamp(at))
	}
	return &done{Return: true}, a.changeImage(i, in.dryRun, func(next *image) { next.Deprecation = at })
}

// disableImageDeprecation cancels the deprecation. A public image cannot be without: it gets its default back.
func (a *area) disableImageDeprecation(in *imageIn) (*done, error) {
	i, err := a.owned(in.ID)
	if err != nil {
		return nil, err
	}
	return &done{Return: true}, a.changeImage(i, in.dryRun, func(next *image) {
		next.Deprecation = time.Time{}
		if i.Public {
			next.Deprecation = i.Created.Add(publicLife)
		}
	})
}

// disableImage takes an image out of use, and from all it was shared with.
func (a *area) disableImage(in *imageIn) (*done, error) {
	i, err := a.available(in.ID)
	if err != nil {
		return nil, err
	}
	return &done{Return: true}, a.changeImage(i, in.dryRun, func(next *image) {
		next.State, next.permissions = imageDisabled, permissions{}
	})
}

func (a *area) enableImage(in *imageIn) (*done, error) {
	i, err := a.owned(in.ID)
	if err != nil {
		return nil, err
	}
	if i.State != imageDisabled {
		return nil, errorf("IncorrectState", "The image '%s' is %s, and only a disabled one can be enabled", i.ID, i.State)
	}
	return &done{Return: true}, a.changeImage(i, in.dryRun, func(next *image) { next.State = imageAvailable })
}

type protectImageIn struct {
	imageIn
	Cooldown bool `q:"WithCooldown"`
}

type protectionOut struct {
	reply
	Return string `xml:"return"`
}

func (a *area) protectImage(in *protectImageIn) (*protectionOut, error) {
	i, err := a.owned(in.ID)
	if err != nil {
		return nil, err
	}
	out := &protectionOut{Return: protectionOn}
	err = a.changeImage(i, in.dryRun, func(next *image) {
		next.Protected, next.Cooldown = true, 0
		if in.Cooldown {
			next.Cooldown, out.Return = cooldown, protectionCooldown
		}
	})
	return out, err
}

func (a *area) unprotectImage(in *imageIn) (*protectionOut, error) {
	i, err := a.owned(in.ID)
	if err != nil {
		return nil, err
	}
	now := a.r.opt.Now()
	return &protectionOut{Return: protectionOff}, a.changeImage(i, in.dryRun, func(next *image) {
		if i.Protected {
			next.Protected, next.Unprotected = false, now.Add(i.Cooldown)
		}
	})
}
