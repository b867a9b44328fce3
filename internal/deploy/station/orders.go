package station

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/recipe"
)

// Starter starts runs of images.
type Starter interface {
	// Start starts a run of an image, with what it is to be told. While another run of the image is not over, it fails with
	// fault.Exists. A run of this name that was started before is not started again, whatever became of it.
	Start(ctx context.Context, r *recipe.Recipe, run string, told any) error
}

// orders implements factory.Orders for one request, where a run is ordered by starting it.
type orders struct {
	*Station
	r *asl.Request
}

// LastRebuilt implements factory.Orders.
func (o *orders) LastRebuilt(ctx context.Context, image string) (*factory.Rebuilt, error) {
	last, err := o.state(ctx, factory.UpkeepName(image))
	return last.Rebuilt, err
}

// Order implements factory.Orders. The run is named after what was found: if what it was ordered for is not remembered, since nothing
// could be written down afterwards, the next order for the same is the same again.
func (o *orders) Order(ctx context.Context, r *recipe.Recipe, _ factory.Input, cause string, found factory.Checked) (string, error) {
	var in Order // as upkeep was told: the one that its step sees has paths of this machine
	if err := o.r.Input(&in); err != nil {
		return "", err
	}
	in = Order{Input: in.Input, Cause: cause}
	text, err := json.Marshal([]any{found.Newest, found.Updates})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	run := "upkeep-" + hex.EncodeToString(sum[:12])
	return run, o.Starter.Start(ctx, r, run, in)
}
