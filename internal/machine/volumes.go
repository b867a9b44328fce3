package machine

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"ingot/internal/fault"
)

// MaxSlots is the largest number of further disks.
const MaxSlots = 16

func slotName(i int) string           { return "slot" + strconv.Itoa(i) }
func deviceName(volume string) string { return "disk-" + volume }

// Attach plugs a volume into the running machine. The guest sees it once it has looked at its PCI bus again, which a
// running Linux does at once. It fails with fault.Exists where there is no free slot.
func (m *Machine) Attach(ctx context.Context, v Volume) error {
	m.mu.Lock()
	slot := slices.Index(m.slots, "")
	if slot >= 0 {
		m.slots[slot] = v.ID
	}
	m.mu.Unlock()
	if slot < 0 {
		return fault.Newf(fault.Exists, "attaching %s: all %d slots are taken", v.ID, len(m.slots))
	}
	err := m.qmp.run(ctx, "blockdev-add", map[string]any{"driver": "raw", "node-name": v.ID, "discard": "unmap",
		"cache": map[string]bool{"no-flush": true}, "file": map[string]string{"driver": "file", "filename": v.Path}}, nil)
	if err == nil {
		err = m.qmp.run(ctx, "device_add", map[string]string{"driver": "nvme", "id": deviceName(v.ID), "drive": v.ID, "serial": serial(v.ID),
			"bus": slotName(slot)}, nil)
		if err != nil {
			_ = m.qmp.run(ctx, "blockdev-del", map[string]string{"node-name": v.ID}, nil) // the first error tells what is wrong
		}
	}
	if err != nil {
		m.free(v.ID)
		return fmt.Errorf("attaching %s: %w", v.ID, err)
	}
	return nil
}

// Detach asks the guest to let go of a volume and waits until it has, or the context ends: then the volume is still there, and
// Detach may be called again. A guest that is still in its boot loader does not hear the question.
func (m *Machine) Detach(ctx context.Context, id string) error {
	m.mu.Lock()
	known := slices.Contains(m.slots, id)
	gone := m.gone[id]
	if gone == nil {
		gone = make(chan struct{})
		m.gone[id] = gone
	}
	m.mu.Unlock()
	if !known {
		return fault.Newf(fault.Missing, "detaching %s: it is not attached", id)
	}
	// The question may have been asked before, and QEMU refuses to ask twice within a while: what counts is whether it goes.
	asked := m.qmp.run(ctx, "device_del", map[string]string{"id": deviceName(id)}, nil)
	select {
	case <-gone:
	case <-m.exited:
		return fmt.Errorf("detaching %s: %w", id, errClosed)
	case <-ctx.Done():
		if asked != nil {
			return fmt.Errorf("detaching %s: %w", id, asked)
		}
		return fmt.Errorf("detaching %s: the guest does not let go of it: %w", id, context.Cause(ctx))
	}
	m.free(id)
	if err := m.qmp.run(ctx, "blockdev-del", map[string]string{"node-name": id}, nil); err != nil {
		return fmt.Errorf("detaching %s: %w", id, err)
	}
	return nil
}

// unplugged hears that the guest has let go of a device, which QEMU may say more than once.
func (m *Machine) unplugged(device string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.slots {
		if id == "" || deviceName(id) != device {
			continue
		}
		if m.gone[id] == nil {
			m.gone[id] = make(chan struct{})
		}
		select {
		case <-m.gone[id]:
		default:
			close(m.gone[id])
		}
	}
}

// free makes a volume's slot free for another.
func (m *Machine) free(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slot := slices.Index(m.slots, id); slot >= 0 { // another Detach may have been first
		m.slots[slot] = ""
	}
	delete(m.gone, id)
}

// Pause stops the guest's clock, and returns when all that it wrote is in its disks' files. Resume lets it go on.
func (m *Machine) Pause(ctx context.Context) error {
	m.mu.Lock()
	m.paused = true
	m.mu.Unlock()
	return m.qmp.run(ctx, "stop", nil, nil)
}

// Resume lets a guest go on that Pause stopped.
func (m *Machine) Resume(ctx context.Context) error {
	err := m.qmp.run(ctx, "cont", nil, nil)
	m.mu.Lock()
	m.paused = false
	m.mu.Unlock()
	return err
}
