package history

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
)

// TestStateDirectoryMode: other users of the machine cannot read the state.
func TestStateDirectoryMode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state")
	s, err := openStore(dir, vfs.Default, origin{}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %o, want 700 (%v)", info.Mode().Perm(), err)
	}
}
