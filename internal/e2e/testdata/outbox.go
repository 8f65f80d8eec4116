// Outbox prints what a consumer of examples/ has in its database: a line for
// each row of its tables outbox and held.
package main

import (
	"database/sql"
	"fmt"
	"log"
	"os"

	_ "modernc.org/sqlite"
)

func main() {
	db, err := sql.Open("sqlite", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	rows, err := db.Query(`SELECT type || ' ' || order_id || ' ' || value || ' ' || currency FROM outbox UNION ALL SELECT 'held ' || id FROM held`)
	if err != nil {
		log.Fatal(err)
	}
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			log.Fatal(err)
		}
		fmt.Println(line)
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}
}
