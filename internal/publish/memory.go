package publish

import (
	"os"
	"runtime/debug"
)

// memoryLimit is what LimitMemory asks the runtime for. The blocks in flight take a third of it.
const memoryLimit = 384 << 20

// LimitMemory has this process's garbage collector work harder before it takes more memory than publishing to many regions needs, also where it
// gets little of the processors. It is for programs that do nothing else at the time; $GOMEMLIMIT has the last word.
func LimitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
