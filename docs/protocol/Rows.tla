-------------------------------- MODULE Rows --------------------------------
(***************************************************************************)
(* When a cached result that depends on single rows may be served.         *)
(*                                                                         *)
(* Read Stamps first. Here a relation has more slots than its own: one for *)
(* each row by its primary key, one for each value of a key column, where  *)
(* rows that come to have the value are marked ("arrivals"), one for rows  *)
(* that are changed or deleted ("departures"), and one for writes to rows  *)
(* that are not known ("bulk"). A writer marks those that its statement    *)
(* concerns; a result depends on as few as suffice.                        *)
(*                                                                         *)
(* There are two rows, "1" and "2", each with a value in the key column c: *)
(* "x", "y", or "none" where there is no row. Readers ask one question     *)
(* again and again and share one entry:                                    *)
(*                                                                         *)
(*   key       row 1, by its primary key: depends on "row 1"               *)
(*   partial   how many rows with c = x have some other property: depends  *)
(*             on the arrivals at x and on departures                      *)
(*   complete  all rows with c = x: depends on "table", the slot of the    *)
(*             relation. It may be promoted: then it depends on the        *)
(*             arrivals at x and on the rows that it has returned. Their   *)
(*             slots are known only after the query, so that the slot of   *)
(*             the relation has to show that nothing was written since     *)
(*                                                                         *)
(* and all of them on "bulk", but for an answer that was not promoted.     *)
(*                                                                         *)
(* The invariant: nobody is served an answer that is older than the one    *)
(* that was visible when the look-up began. Without any one of AllRules it *)
(* is violated: tests/protocol/test_tla.py shows it.                       *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets

CONSTANTS
    Question,   \* "key", "partial" or "complete"
    Writers, Readers,
    Statements, \* each writer runs one of them, once: see Statement
    Deaths,     \* may writers die?
    Losses,     \* how many stamps the store may lose
    AtOnce,     \* does the store read several slots at one moment?
    Rules       \* which rules hold, of AllRules

AllRules == {
    "mark", "merge", "stamps before query", "fill empty only", \* as in Stamps
    "mark rows",               \* and not the relation alone
    "mark arrivals", "mark departures", "mark bulk",
    "depend on returned rows", \* after promotion
    "table last",              \* to promote, the relation's slot is read after those of the rows
    "table again",             \* and once more after one of these was filled
    "refuse marks"             \* and one that is marked ends the promotion
    }

ASSUME Rules \subseteq AllRules /\ Losses \in Nat /\ AtOnce \in BOOLEAN /\ Deaths \in BOOLEAN

VARIABLES
    slots,    \* slot -> [stamp, marks]: stamp 0 and no marks: empty
    rows,     \* row -> its value in c
    visible,  \* how often the answer has changed
    entry,    \* the stored answer: see NoEntry
    runs,     \* writer -> its statement
    writer,   \* writer -> [at, left]: the slots that it has still to mark or to settle
    reader,   \* reader -> see Idle
    losses    \* that may still come

vars == <<slots, rows, visible, entry, runs, writer, reader, losses>>

Row(number) == IF number = 1 THEN "row 1" ELSE "row 2"

\* marks: the slots; to: the values in c after it, "as it was" for a row that is left alone; touches: rows of which
\* something else is changed
Statement(name) ==
    LET same == "as it was"
        by(marks, first, second, touches) == [marks |-> marks, to |-> <<first, second>>, touches |-> touches]
    IN CASE name = "UPDATE 1" -> by({"table", "row 1", "departures"}, same, same, {1})
         [] name = "UPDATE 2" -> by({"table", "row 2", "departures"}, same, same, {2})
         [] name = "1 to y" -> by({"table", "row 1", "departures"}, "y", same, {})
         [] name = "1 to x" -> by({"table", "row 1", "departures", "arrivals at x"}, "x", same, {})
         [] name = "2 to x" -> by({"table", "row 2", "departures", "arrivals at x"}, same, "x", {})
         [] name = "INSERT 2" -> by({"table", "arrivals at x"}, same, "x", {})
         [] name = "INSERT y" -> by({"table"}, same, "y", {})
         [] name = "DELETE 1" -> by({"table", "row 1", "departures"}, "none", same, {})
         [] name = "UPDATE all" -> by({"table", "bulk"}, same, same, {1, 2})

Asked ==
    CASE Question = "key" -> {"row 1", "bulk"}
      [] Question = "partial" -> {"arrivals at x", "departures", "bulk"}
      [] Question = "complete" -> {"table"}

\* Slots that nobody marks, or that no answer can depend on, make no difference.
Slots ==
    LET promoted == IF Question = "complete" THEN {"arrivals at x", "row 1", "row 2", "bulk"} ELSE {}
    IN (Asked \cup promoted) \cap UNION {Statement(runs[w]).marks : w \in Writers}

Marks(w) ==
    LET named == Statement(runs[w]).marks \cap Slots
        left(rule, slot) == IF rule \in Rules THEN {} ELSE {slot}
    IN IF "mark" \notin Rules THEN {}
       ELSE IF "mark rows" \notin Rules THEN named \cap {"table"}
       ELSE named \ (left("mark arrivals", "arrivals at x") \cup left("mark departures", "departures")
                     \cup left("mark bulk", "bulk"))

NoStamps == [slot \in {} |-> 0]
NoEntry == [stored |-> FALSE, stamps |-> NoStamps, version |-> 0, rows |-> {}]
Idle == [at |-> "idle", began |-> 0, entry |-> NoEntry, wanted |-> {}, stamps |-> NoStamps, empty |-> {}]

Empty == [stamp |-> 0, marks |-> {}]
Stamped(stamp) == [stamp |-> stamp, marks |-> {}]
Marked(marks) == [stamp |-> 0, marks |-> marks]
IsEmpty(slot) == slots[slot] = Empty
IsMarked(slot) == slots[slot].marks # {}

With(stamps, slot, stamp) == [one \in DOMAIN stamps \cup {slot} |-> IF one = slot THEN stamp ELSE stamps[one]]

\* A stamp is unlike all that anybody remembers for its slot; nothing else makes it a new one.
Fresh(slot) ==
    LET in(stamps) == IF slot \in DOMAIN stamps THEN {stamps[slot]} ELSE {}
        known == {0, slots[slot].stamp} \cup in(entry.stamps)
                 \cup UNION {in(reader[r].stamps) \cup in(reader[r].entry.stamps) : r \in Readers}
    IN CHOOSE stamp \in 1 .. Cardinality(known) : stamp \notin known

Init ==
    /\ runs \in [Writers -> Statements]
    /\ rows = <<"x", IF \E w \in Writers : runs[w] \in {"INSERT 2", "INSERT y"} THEN "none" ELSE "y">>
    /\ slots = [slot \in Slots |-> Empty]
    /\ visible = 0
    /\ entry = NoEntry
    /\ writer = [w \in Writers |-> [at |-> IF Marks(w) = {} THEN "marked" ELSE "marking", left |-> Marks(w)]]
    /\ reader = [r \in Readers |-> Idle]
    /\ losses = Losses

-----------------------------------------------------------------------------
(* Writers *)

Others(w, slot) == IF "merge" \in Rules THEN slots[slot].marks \ {w} ELSE {}

Mark(w, slot) ==
    /\ writer[w].at = "marking" /\ slot \in writer[w].left
    /\ slots' = [slots EXCEPT ![slot] = Marked(Others(w, slot) \cup {w})]
    /\ LET left == writer[w].left \ {slot} IN
       writer' = [writer EXCEPT ![w] = [at |-> IF left = {} THEN "marked" ELSE "marking", left |-> left]]
    /\ UNCHANGED <<rows, visible, entry, runs, reader, losses>>

Settling(w) == writer' = [writer EXCEPT ![w] = [at |-> IF Marks(w) = {} THEN "done" ELSE "settling", left |-> Marks(w)]]

Commit(w) ==
    /\ writer[w].at = "marked"
    /\ LET statement == Statement(runs[w])
           after == [row \in 1 .. 2 |-> IF statement.to[row] = "as it was" THEN rows[row] ELSE statement.to[row]]
           changed == {row \in 1 .. 2 : after[row] # rows[row]
                                        \/ (row \in statement.touches /\ after[row] # "none")}
           concerns == IF Question = "key" THEN 1 \in changed
                       ELSE \E row \in changed : "x" \in {rows[row], after[row]}
       IN rows' = after /\ visible' = visible + (IF concerns THEN 1 ELSE 0)
    /\ Settling(w)
    /\ UNCHANGED <<slots, entry, runs, reader, losses>>

RollBack(w) ==
    /\ writer[w].at = "marked"
    /\ Settling(w)
    /\ UNCHANGED <<slots, rows, visible, entry, runs, reader, losses>>

Settle(w, slot) ==
    /\ writer[w].at = "settling" /\ slot \in writer[w].left
    /\ LET others == Others(w, slot) IN
       slots' = [slots EXCEPT ![slot] = IF others # {} THEN Marked(others) ELSE Stamped(Fresh(slot))]
    /\ LET left == writer[w].left \ {slot} IN
       writer' = [writer EXCEPT ![w] = [at |-> IF left = {} THEN "done" ELSE "settling", left |-> left]]
    /\ UNCHANGED <<rows, visible, entry, runs, reader, losses>>

Die(w) ==
    /\ Deaths /\ writer[w].at \in {"marking", "marked", "settling"}
    /\ writer' = [writer EXCEPT ![w] = [at |-> "dead", left |-> {}]]
    /\ UNCHANGED <<slots, rows, visible, entry, runs, reader, losses>>

-----------------------------------------------------------------------------
(* The store *)

LeaseEnds(w, slot) ==
    /\ writer[w].at = "dead" /\ w \in slots[slot].marks
    /\ slots' = [slots EXCEPT ![slot] = Marked(@.marks \ {w})]
    /\ UNCHANGED <<rows, visible, entry, runs, writer, reader, losses>>

LoseStamp(slot) ==
    /\ losses > 0 /\ slots[slot].stamp # 0
    /\ slots' = [slots EXCEPT ![slot] = Empty]
    /\ losses' = losses - 1
    /\ UNCHANGED <<rows, visible, entry, runs, writer, reader>>

-----------------------------------------------------------------------------
(* Readers: the look-up *)

Move(r, to) == reader' = [reader EXCEPT ![r] = to]
Unwritten == <<rows, visible, runs, writer, losses>>  \* by readers

Missing == [Idle EXCEPT !.at = IF Asked \cap Slots = {} THEN "querying" ELSE "missing", !.wanted = Asked \cap Slots]

Begin(r) ==
    /\ reader[r].at = "idle"
    /\ IF entry.stored
       THEN Move(r, [Idle EXCEPT !.at = IF DOMAIN entry.stamps = {} THEN "served" ELSE "checking",
                                 !.began = visible, !.entry = entry, !.wanted = DOMAIN entry.stamps])
       ELSE Move(r, Missing)
    /\ UNCHANGED <<slots, entry>> /\ UNCHANGED Unwritten

\* The sets of slots that can be read in one step
Portions(wanted) == IF AtOnce THEN {wanted} ELSE {{slot} : slot \in wanted}

Check(r) ==
    /\ reader[r].at = "checking"
    /\ \E portion \in Portions(reader[r].wanted) :
        IF \E slot \in portion : slots[slot].stamp # reader[r].entry.stamps[slot]
        THEN Move(r, Missing)
        ELSE LET left == reader[r].wanted \ portion IN
             Move(r, [reader[r] EXCEPT !.wanted = left, !.at = IF left = {} THEN "served" ELSE "checking"])
    /\ UNCHANGED <<slots, entry>> /\ UNCHANGED Unwritten

\* To promote: the slots of rows are read first
Promoting(kept) ==
    LET named == {"arrivals at x", "bulk"} \cup (IF "depend on returned rows" \in Rules THEN kept.rows ELSE {})
        wanted == named \cap Slots
    IN [Idle EXCEPT !.at = IF wanted = {} THEN "reading table" ELSE "reading rows", !.entry = kept, !.wanted = wanted]

Finish(r) ==
    /\ reader[r].at = "served"
    /\ \/ Move(r, Idle)
       \/ /\ Question = "complete" /\ "table" \in DOMAIN reader[r].entry.stamps
          /\ Move(r, Promoting(reader[r].entry))
    /\ UNCHANGED <<slots, entry>> /\ UNCHANGED Unwritten

Miss(r) ==
    /\ reader[r].at = "missing" /\ reader[r].wanted # {}
    /\ \E portion \in Portions(reader[r].wanted) :
        IF \E slot \in portion : IsMarked(slot) THEN Move(r, Idle)
        ELSE LET empty == {slot \in portion : IsEmpty(slot)}
                 me == reader[r]
                 read == [me EXCEPT
                    !.wanted = @ \ portion,
                    !.empty = @ \cup empty,
                    !.stamps = [slot \in DOMAIN me.stamps \cup (portion \ empty) |->
                                IF slot \in portion THEN slots[slot].stamp ELSE me.stamps[slot]]]
             IN Move(r, [read EXCEPT !.at = IF read.wanted = {} /\ read.empty = {} THEN "querying" ELSE @])
    /\ UNCHANGED <<slots, entry>> /\ UNCHANGED Unwritten

FillForQuery(r) ==
    /\ reader[r].at = "missing" /\ reader[r].wanted = {}
    /\ \E slot \in reader[r].empty :
        LET fills == IsEmpty(slot) \/ "fill empty only" \notin Rules
            stamp == IF fills THEN Fresh(slot) ELSE slots[slot].stamp
            read == [reader[r] EXCEPT !.empty = @ \ {slot}, !.stamps = With(@, slot, stamp)]
        IN /\ IF fills THEN slots' = [slots EXCEPT ![slot] = Stamped(stamp)] ELSE UNCHANGED slots
           /\ IF stamp = 0 THEN Move(r, Idle)
              ELSE Move(r, [read EXCEPT !.at = IF read.empty = {} THEN "querying" ELSE @])
    /\ UNCHANGED entry /\ UNCHANGED Unwritten

Query(r) ==
    /\ reader[r].at = "querying"
    /\ IF Question = "key" /\ rows[1] = "none" THEN Move(r, Idle)
       ELSE LET returned == IF Question = "complete" THEN {Row(row) : row \in {one \in 1 .. 2 : rows[one] = "x"}} ELSE {}
                kept == [stored |-> TRUE, stamps |-> reader[r].stamps, version |-> visible,
                         rows |-> returned \cap Slots]
            IN Move(r, [Idle EXCEPT !.at = "storing", !.entry = kept])
    /\ UNCHANGED <<slots, entry>> /\ UNCHANGED Unwritten

StoreEntry(r) ==
    /\ reader[r].at = "storing"
    /\ LET kept == reader[r].entry
           late == [slot \in DOMAIN kept.stamps |-> slots[slot].stamp]
           stored == IF "stamps before query" \in Rules THEN kept ELSE [kept EXCEPT !.stamps = late]
       IN IF \E slot \in DOMAIN stored.stamps : stored.stamps[slot] = 0
          THEN Move(r, Idle) /\ UNCHANGED entry
          ELSE /\ entry' = stored
               /\ \/ Move(r, Idle)
                  \/ Question = "complete" /\ Move(r, Promoting(stored))
    /\ UNCHANGED slots /\ UNCHANGED Unwritten

-----------------------------------------------------------------------------
(* Readers: the promotion of an answer that depends on the relation *)

Promote(r, me) ==
    /\ entry' = [me.entry EXCEPT !.stamps = me.stamps, !.rows = {}]
    /\ Move(r, Idle)

\* The slot of the relation is compared with what it held before the query.
Compare(r, me) ==
    IF "table last" \in Rules /\ \E slot \in DOMAIN me.entry.stamps : slots[slot].stamp # me.entry.stamps[slot]
    THEN Move(r, Idle) /\ UNCHANGED entry
    ELSE IF me.empty # {} THEN Move(r, [me EXCEPT !.at = "filling"]) /\ UNCHANGED entry
    ELSE IF DOMAIN me.stamps = {} THEN Move(r, Idle) /\ UNCHANGED entry  \* there is nothing to depend on
    ELSE Promote(r, me)

ReadRows(r) ==
    /\ reader[r].at = "reading rows"
    /\ \E portion \in Portions(reader[r].wanted) :
        LET me == reader[r]
            stamped == {slot \in portion : slots[slot].stamp # 0}
            read == [me EXCEPT
                !.wanted = @ \ portion,
                !.empty = @ \cup (portion \ stamped),
                !.stamps = [slot \in DOMAIN me.stamps \cup stamped |->
                            IF slot \in stamped THEN slots[slot].stamp ELSE me.stamps[slot]]]
        IN IF "refuse marks" \in Rules /\ \E slot \in portion : IsMarked(slot)
           THEN Move(r, Idle) /\ UNCHANGED entry
           ELSE IF read.wanted # {} THEN Move(r, read) /\ UNCHANGED entry
           ELSE IF AtOnce THEN Compare(r, [read EXCEPT !.at = "reading table"])
           ELSE Move(r, [read EXCEPT !.at = "reading table"]) /\ UNCHANGED entry
    /\ UNCHANGED slots /\ UNCHANGED Unwritten

ReadTable(r) ==
    /\ reader[r].at = "reading table"
    /\ Compare(r, reader[r])
    /\ UNCHANGED slots /\ UNCHANGED Unwritten

FillForPromotion(r) ==
    /\ reader[r].at = "filling"
    /\ \E slot \in reader[r].empty :
        LET fills == IsEmpty(slot) \/ (IsMarked(slot) /\ "refuse marks" \notin Rules)
            stamp == IF fills THEN Fresh(slot) ELSE slots[slot].stamp
            read == [reader[r] EXCEPT !.empty = @ \ {slot}, !.stamps = With(@, slot, stamp)]
        IN /\ IF fills THEN slots' = [slots EXCEPT ![slot] = Stamped(stamp)] ELSE UNCHANGED slots
           /\ IF stamp = 0 THEN Move(r, Idle) /\ UNCHANGED entry
              ELSE IF read.empty # {} THEN Move(r, read) /\ UNCHANGED entry
              ELSE IF "table again" \in Rules THEN Move(r, [read EXCEPT !.at = "reading table"]) /\ UNCHANGED entry
              ELSE Promote(r, read)
    /\ UNCHANGED Unwritten

-----------------------------------------------------------------------------
Next ==
    \/ \E w \in Writers :
        \/ Commit(w) \/ RollBack(w) \/ Die(w)
        \/ \E slot \in Slots : Mark(w, slot) \/ Settle(w, slot) \/ LeaseEnds(w, slot)
    \/ \E slot \in Slots : LoseStamp(slot)
    \/ \E r \in Readers :
        \/ Begin(r) \/ Check(r) \/ Finish(r) \/ Miss(r) \/ FillForQuery(r) \/ Query(r) \/ StoreEntry(r)
        \/ ReadRows(r) \/ ReadTable(r) \/ FillForPromotion(r)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
TypeOK ==
    /\ \A slot \in Slots : slots[slot].marks \subseteq Writers /\ (slots[slot].stamp = 0 \/ slots[slot].marks = {})
    /\ \A r \in Readers : reader[r].wanted \subseteq Slots /\ reader[r].empty \subseteq Slots

NothingStale == \A r \in Readers : reader[r].at = "served" => reader[r].entry.version >= reader[r].began

\* Not an invariant: its violation shows that answers are served while their relation is marked, by their rows.
NothingServedByRows ==
    \A r \in Readers : reader[r].at = "served" =>
        "table" \in DOMAIN reader[r].entry.stamps \/ ~(\E w \in Writers : writer[w].at = "settling")
=============================================================================
