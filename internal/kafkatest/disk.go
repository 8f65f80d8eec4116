package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// diskSize is far more than the tests write. The file is sparse.
const diskSize = 256 << 20

// filler is the name of the file that uses up the free space of a disk.
const filler = "filler"

// Disk returns nil if broker 1 has a disk of its own with about half of its partitions, or an error that says why not. It
// needs Options.Disk, and the permission to mount a file system.
func (c *Cluster) Disk() error { return c.disk }

// FillDisk fills broker 1's disk completely. Restart empties it.
func (c *Cluster) FillDisk() {
	c.t.Helper()
	if c.disk != nil {
		c.t.Fatalf("kafkatest: broker 1 has no disk of its own: %v", c.disk)
	}
	c.each([]int{1}, func(p *process) error {
		// The mount is visible to the broker's processes only.
		return Fill(filepath.Join(fmt.Sprintf("/proc/%d/root", p.cmd.Process.Pid), diskOf(filepath.Dir(p.output))))
	})
}

// Fill fills the disk of a folder completely. Free undoes it.
func Fill(dir string) error {
	f, err := os.Create(filepath.Join(dir, filler))
	if err != nil {
		return err
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err = f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("filling the disk of %s: %w", dir, err)
	}
	return nil
}

// Free frees the space that Fill used.
func Free(dir string) error { return os.Remove(filepath.Join(dir, filler)) }

// SmallDisk mounts a disk of 12 MB on a folder until the test ends. It needs
// Linux, and the permission to mount.
func SmallDisk(t testing.TB, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=12m", "tollbridge-test", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return nil
}

func diskOf(home string) string { return filepath.Join(home, "disk") }

// makeDisk creates the disk for a broker's folder, and tests that it can be mounted.
func makeDisk(home string) error {
	if err := os.MkdirAll(diskOf(home), 0o755); err != nil {
		return err
	}
	image := diskOf(home) + ".img"
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(image, diskSize); err != nil {
		return err
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", image}, onDisk(home, "true")} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// onDisk returns a command that runs with the disk mounted. Only the command and its
// children see the mount, which ends with them.
func onDisk(home string, args ...string) []string {
	const script = `mount -o loop "$0.img" "$0" && rm -f "$0/` + filler + `" && exec "$@"`
	return append([]string{"unshare", "-m", "sh", "-c", script, diskOf(home)}, args...)
}
