------------------------------- MODULE Stamps -------------------------------
(***************************************************************************)
(* When a cached result may be served: slots of relations, stamps, marks.  *)
(*                                                                         *)
(* A store holds one slot for each relation: a stamp, or the marks of the  *)
(* writers that are about to write the relation, or nothing. A result is   *)
(* stored with the vector of the stamps that its slots held before its     *)
(* query ran, and is served while they hold the same. A writer marks the   *)
(* slots of what it writes before its COMMIT, and settles them after it:   *)
(* it removes its mark, and the last one leaves a fresh stamp.             *)
(*                                                                         *)
(* Writers may die at any moment; their marks end with their lease, which  *)
(* is longer than any COMMIT. The store may lose stamps and the entry.     *)
(*                                                                         *)
(* The database is reduced to the number of commits that each relation has *)
(* seen; a query reads all of them at one moment. The invariant: nobody is *)
(* served a version of a relation that is older than the one that was      *)
(* visible when its look-up began.                                         *)
(*                                                                         *)
(* Rules holds the names of the rules that are kept. Without any one of    *)
(* them the invariant is violated: tests/protocol/test_tla.py shows it.    *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets

CONSTANTS
    Relations,  \* that every result here depends on
    Writers,    \* each writes some of the relations, once
    Readers,    \* each looks the one entry up, once
    Losses,     \* how many stamps the store may lose
    AtOnce,     \* does the store read several slots at one moment?
    Rules       \* which rules hold, of AllRules

AllRules == {"mark", "merge", "stamps before query", "fill empty only"}

ASSUME Rules \subseteq AllRules /\ Losses \in Nat /\ AtOnce \in BOOLEAN

VARIABLES
    slots,      \* relation -> [stamp, marks]: stamp 0 and no marks: empty
    fresh,      \* the next stamp
    visible,    \* relation -> how many commits have changed it
    entry,      \* the stored result: [vector, rows], or NoEntry
    writes,     \* writer -> the relations that it writes
    writer,     \* writer -> [at, left]: the slots that it has still to mark or to settle
    reader,     \* reader -> [at, began, vector, left, rows, found]
    losses      \* that may still come

vars == <<slots, fresh, visible, entry, writes, writer, reader, losses>>

None == [relation \in Relations |-> 0]
NoEntry == [vector |-> None, rows |-> None]  \* no slot ever holds stamp 0

Empty == [stamp |-> 0, marks |-> {}]
Stamped(stamp) == [stamp |-> stamp, marks |-> {}]
Marked(marks) == [stamp |-> 0, marks |-> marks]
IsEmpty(slot) == slot = Empty
IsMarked(slot) == slot.marks # {}

Init ==
    /\ slots = [relation \in Relations |-> Empty]
    /\ fresh = 1
    /\ visible = None
    /\ entry = NoEntry
    /\ writes \in [Writers -> (SUBSET Relations) \ {{}}]
    /\ writer = [w \in Writers |-> [at |-> "marking", left |-> writes[w]]]
    /\ reader = [r \in Readers |->
        [at |-> "idle", began |-> None, vector |-> None, left |-> {}, rows |-> None, found |-> NoEntry]]
    /\ losses = Losses

-----------------------------------------------------------------------------
(* Writers *)

Others(w, relation) == IF "merge" \in Rules THEN slots[relation].marks \ {w} ELSE {}

Mark(w, relation) ==
    /\ writer[w].at = "marking" /\ relation \in writer[w].left
    /\ IF "mark" \in Rules
       THEN slots' = [slots EXCEPT ![relation] = Marked(Others(w, relation) \cup {w})]
       ELSE UNCHANGED slots
    /\ LET left == writer[w].left \ {relation} IN
       writer' = [writer EXCEPT ![w] = [at |-> IF left = {} THEN "marked" ELSE "marking", left |-> left]]
    /\ UNCHANGED <<fresh, visible, entry, writes, reader, losses>>

Commit(w) ==
    /\ writer[w].at = "marked"
    /\ visible' = [relation \in Relations |-> visible[relation] + (IF relation \in writes[w] THEN 1 ELSE 0)]
    /\ writer' = [writer EXCEPT ![w] = [at |-> "settling", left |-> writes[w]]]
    /\ UNCHANGED <<slots, fresh, entry, writes, reader, losses>>

RollBack(w) ==
    /\ writer[w].at = "marked"
    /\ writer' = [writer EXCEPT ![w] = [at |-> "settling", left |-> writes[w]]]
    /\ UNCHANGED <<slots, fresh, visible, entry, writes, reader, losses>>

Settle(w, relation) ==
    /\ writer[w].at = "settling" /\ relation \in writer[w].left
    /\ LET others == Others(w, relation) IN
       IF others # {}
       THEN slots' = [slots EXCEPT ![relation] = Marked(others)] /\ UNCHANGED fresh
       ELSE slots' = [slots EXCEPT ![relation] = Stamped(fresh)] /\ fresh' = fresh + 1
    /\ LET left == writer[w].left \ {relation} IN
       writer' = [writer EXCEPT ![w] = [at |-> IF left = {} THEN "done" ELSE "settling", left |-> left]]
    /\ UNCHANGED <<visible, entry, writes, reader, losses>>

Die(w) ==
    /\ writer[w].at \in {"marking", "marked", "settling"}
    /\ writer' = [writer EXCEPT ![w] = [at |-> "dead", left |-> {}]]
    /\ UNCHANGED <<slots, fresh, visible, entry, writes, reader, losses>>

-----------------------------------------------------------------------------
(* The store *)

LeaseEnds(w, relation) ==
    /\ writer[w].at = "dead" /\ w \in slots[relation].marks
    /\ slots' = [slots EXCEPT ![relation] = Marked(@.marks \ {w})]
    /\ UNCHANGED <<fresh, visible, entry, writes, writer, reader, losses>>

LoseStamp(relation) ==
    /\ losses > 0 /\ slots[relation].stamp # 0
    /\ slots' = [slots EXCEPT ![relation] = Empty]
    /\ losses' = losses - 1
    /\ UNCHANGED <<fresh, visible, entry, writes, writer, reader>>

-----------------------------------------------------------------------------
(* Readers *)

Move(r, to) == reader' = [reader EXCEPT ![r] = to]

\* The entry is read before its slots, or at the same moment.
Begin(r) ==
    /\ reader[r].at = "idle"
    /\ Move(r, [reader[r] EXCEPT !.at = "reading", !.began = visible, !.left = Relations, !.found = entry])
    /\ UNCHANGED <<slots, fresh, visible, entry, writes, writer, losses>>

\* What a reader does when it has the values of all slots: a marked one ends it, empty ones have to be filled.
AfterLookUp(me) ==
    IF me.left # {} THEN [me EXCEPT !.at = "filling"]
    ELSE IF me.vector = me.found.vector THEN [me EXCEPT !.at = "served", !.rows = me.found.rows]
    ELSE [me EXCEPT !.at = "querying"]

ReadAll(r) ==
    /\ AtOnce /\ reader[r].at = "reading"
    /\ IF \E relation \in Relations : IsMarked(slots[relation])
       THEN Move(r, [reader[r] EXCEPT !.at = "bypassed"])
       ELSE Move(r, AfterLookUp([reader[r] EXCEPT
                !.vector = [relation \in Relations |-> slots[relation].stamp],
                !.left = {relation \in Relations : IsEmpty(slots[relation])},
                !.found = entry]))
    /\ UNCHANGED <<slots, fresh, visible, entry, writes, writer, losses>>

\* One after the other: those that are empty are filled in passing.
ReadOne(r, relation) ==
    /\ ~AtOnce /\ reader[r].at = "reading" /\ relation \in reader[r].left
    /\ LET slot == slots[relation]
           read == [reader[r] EXCEPT !.vector[relation] = slot.stamp, !.left = @ \ {relation}]
       IN IF IsMarked(slot) THEN Move(r, [read EXCEPT !.at = "bypassed"])
          ELSE IF read.left # {} THEN Move(r, read)
          ELSE Move(r, AfterLookUp([read EXCEPT !.left = {one \in Relations : read.vector[one] = 0}]))
    /\ UNCHANGED <<slots, fresh, visible, entry, writes, writer, losses>>

Fill(r, relation) ==
    /\ reader[r].at = "filling" /\ relation \in reader[r].left
    /\ LET slot == slots[relation]
           fills == IsEmpty(slot) \/ "fill empty only" \notin Rules
           stamp == IF fills THEN fresh ELSE slot.stamp
           read == [reader[r] EXCEPT !.vector[relation] = stamp, !.left = @ \ {relation}]
       IN /\ IF fills
             THEN slots' = [slots EXCEPT ![relation] = Stamped(fresh)] /\ fresh' = fresh + 1
             ELSE UNCHANGED <<slots, fresh>>
          /\ IF stamp = 0 THEN Move(r, [read EXCEPT !.at = "bypassed"])
             ELSE IF read.left # {} THEN Move(r, read)
             ELSE Move(r, [read EXCEPT !.at = "querying"])
    /\ UNCHANGED <<visible, entry, writes, writer, losses>>

Query(r) ==
    /\ reader[r].at = "querying"
    /\ Move(r, [reader[r] EXCEPT !.at = "storing", !.rows = visible])
    /\ UNCHANGED <<slots, fresh, visible, entry, writes, writer, losses>>

StoreEntry(r) ==
    /\ reader[r].at = "storing"
    /\ LET vector == IF "stamps before query" \in Rules THEN reader[r].vector
                     ELSE [relation \in Relations |-> slots[relation].stamp]
       IN IF \E relation \in Relations : vector[relation] = 0 THEN UNCHANGED entry
          ELSE entry' = [vector |-> vector, rows |-> reader[r].rows]
    /\ Move(r, [reader[r] EXCEPT !.at = "done"])
    /\ UNCHANGED <<slots, fresh, visible, writes, writer, losses>>

-----------------------------------------------------------------------------
Next ==
    \/ \E w \in Writers :
        \/ Commit(w) \/ RollBack(w) \/ Die(w)
        \/ \E relation \in Relations : Mark(w, relation) \/ Settle(w, relation) \/ LeaseEnds(w, relation)
    \/ \E relation \in Relations : LoseStamp(relation)
    \/ \E r \in Readers :
        \/ Begin(r) \/ ReadAll(r) \/ Query(r) \/ StoreEntry(r)
        \/ \E relation \in Relations : ReadOne(r, relation) \/ Fill(r, relation)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
TypeOK ==
    /\ \A relation \in Relations :
        /\ slots[relation].marks \subseteq Writers
        /\ slots[relation].stamp \in 0 .. fresh - 1
        /\ slots[relation].stamp = 0 \/ slots[relation].marks = {}
    /\ losses \in 0 .. Losses

\* Nobody is served anything that was out of date when the look-up began.
NothingStale ==
    \A r \in Readers : reader[r].at = "served" =>
        \A relation \in Relations : reader[r].rows[relation] >= reader[r].began[relation]

\* Not an invariant: its violation shows that results are served at all.
NothingServed == \A r \in Readers : reader[r].at # "served"
=============================================================================
