package machine

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
)

// Screenshot returns what the guest's screen shows, as a PNG.
func (m *Machine) Screenshot(ctx context.Context) ([]byte, error) {
	path := filepath.Join(m.cfg.Dir, "screen.ppm")
	defer os.Remove(path)
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := m.qmp.run(ctx, "screendump", map[string]string{"filename": abs}, nil); err != nil {
		return nil, fmt.Errorf("taking a screenshot: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("taking a screenshot: %w", err)
	}
	img, err := decodePPM(data)
	if err != nil {
		return nil, fmt.Errorf("taking a screenshot: %w", err)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return nil, fmt.Errorf("taking a screenshot: %w", err)
	}
	return out.Bytes(), nil
}

// decodePPM reads the only kind of PPM that QEMU writes (ui/console.c): P6, three bytes a pixel. Every
// QEMU can write it; only those from 7.1 on can write PNG themselves.
func decodePPM(data []byte) (image.Image, error) {
	var width, height int
	var depth int
	r := bytes.NewReader(data)
	if _, err := fmt.Fscanf(r, "P6\n%d %d\n%d\n", &width, &height, &depth); err != nil {
		return nil, fmt.Errorf("reading a PPM image: %w", err)
	}
	pixels := data[len(data)-r.Len():]
	if depth != 255 || width < 1 || height < 1 || width > 1<<14 || height > 1<<14 || len(pixels) < width*height*3 {
		return nil, fmt.Errorf("reading a PPM image: %d×%d with %d bytes of pixels is not plausible", width, height, len(pixels))
	}
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		img.SetRGBA(i%width, i/width, color.RGBA{pixels[3*i], pixels[3*i+1], pixels[3*i+2], 255})
	}
	return img, nil
}
