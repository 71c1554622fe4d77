(* From an expression to its tree. Nothing rests on this: Coq compares the tree's meaning with the expression.
   What trees are made of is looked up once, and kept with what is found. *)
Ltac2 Type reading := {
  add : constr; mul : constr; zero : constr; one : constr; sum : constr; z : constr;
  plus : constr; times : constr; sigma : constr; atom : constr; cons : constr;
  number : int -> constr; numbers : constr list -> constr; function : int list -> constr -> constr;
  mutable sizes : constr list; mutable atoms : constr list; mutable moves : (constr * constr * constr * constr) list
}.
Ltac2 app f l := Constr.Unsafe.make (Constr.Unsafe.App f (Array.of_list l)).
Ltac2 lists type :=
  let nil := app constr:(@nil) [type] in
  let cons := constr:(@cons) in
  let rec write l := match l with [] => nil | c :: l => app cons [type; c; write l] end in
  write.
(* The number of a term in a list, and the list with it; its last comes first. *)
Ltac2 rec look same c l :=
  match l with [] => None | d :: l => if same c d then Some (List.length l) else look same c l end.
Ltac2 enter same c l := match look same c l with Some k => (k, l) | None => (List.length l, c :: l) end.
(* The variables of a term that are free below [k] binders, as they come. *)
Ltac2 rec free k known c :=
  let rec all known l := match l with [] => known | c :: l => all (free k known c) l end in
  match Constr.Unsafe.kind c with
  | Constr.Unsafe.Rel i =>
      if Int.lt k i then let (_, known) := enter Int.equal (Int.sub i k) known in known else known
  | Constr.Unsafe.App f l => all known (f :: Array.to_list l)
  | Constr.Unsafe.Lambda _ c => free (Int.add k 1) known c
  | Constr.Unsafe.Case _ _ _ c l => all known (c :: Array.to_list l)
  | _ => known
  end.
(* A term as a function of the list of its variables. *)
Ltac2 functions number :=
  let (nth, zero, binder) := (constr:(@nth nat), constr:(O), Constr.Binder.make (Some @v) constr:(list nat)) in
  fun variables c =>
    let rec put k c :=
      match Constr.Unsafe.kind c with
      | Constr.Unsafe.Rel i =>
          match look Int.equal (Int.sub i k) variables with
          | Some j => app nth [number j; Constr.Unsafe.make (Constr.Unsafe.Rel (Int.add k 1)); zero]
          | None => c
          end
      | Constr.Unsafe.App f l => Constr.Unsafe.make (Constr.Unsafe.App (put k f) (Array.map (put k) l))
      | Constr.Unsafe.Lambda b c => Constr.Unsafe.make (Constr.Unsafe.Lambda b (put (Int.add k 1) c))
      | Constr.Unsafe.Case a b i c l =>
          Constr.Unsafe.make (Constr.Unsafe.Case a b i (put k c) (Array.map (put k) l))
      | _ => c
      end in
    Constr.Unsafe.make (Constr.Unsafe.Lambda binder (put 0 c)).
(* Numbers, of which the first are made once. *)
Ltac2 numbers () :=
  let (s, zero, known) := (constr:(S), constr:(O), Array.make 200 None) in
  let rec number k :=
    if Int.equal k 0 then zero
    else if Int.lt k 200 then
      match Array.get known k with
      | Some n => n
      | None => let n := app s [number (Int.sub k 1)] in Array.set known k (Some n); n
      end
    else app s [number (Int.sub k 1)] in
  number.
Ltac2 start () :=
  let number := numbers () in
  {
    add := Control.hyp @add; mul := Control.hyp @mul; zero := Control.hyp @zero; one := Control.hyp @one;
    sum := constr:(sum); z := constr:(z); plus := constr:(Plus); times := constr:(Times); sigma := constr:(Sum);
    atom := constr:(Atom); cons := constr:(@cons); number := number; numbers := lists constr:(nat);
    function := functions number;
    sizes := []; atoms := []; moves := []
  }.
Ltac2 atom_number r f := let (k, l) := enter Constr.equal f (r.(atoms)) in r.(atoms) := l; r.(number) k.
Ltac2 indices r variables :=
  let rec numbers l := match l with [] => [] | i :: l => r.(number) (Int.sub i 1) :: numbers l end in
  r.(numbers) (numbers (List.rev variables)).
(* The variables in a list of nothing else. *)
Ltac2 rec listed r c :=
  match Constr.Unsafe.kind c with
  | Constr.Unsafe.App f l =>
      if Constr.equal f (r.(cons)) then
        match Constr.Unsafe.kind (Array.get l 1) with
        | Constr.Unsafe.Rel i =>
            match listed r (Array.get l 2) with Some known => Some (i :: known) | None => None end
        | _ => None
        end
      else if Int.equal (Array.length l) 1 then Some [] else None
  | _ => None
  end.
(* x [i; j] is the atom x at i and j. Another term is a function of its variables. *)
Ltac2 read_atom r c :=
  let other () :=
    let variables := free 0 [] c in
    app (r.(atom)) [atom_number r (r.(function) variables c); indices r variables] in
  match Constr.Unsafe.kind c with
  | Constr.Unsafe.App f l =>
      match Constr.Unsafe.kind f with
      | Constr.Unsafe.Var _ =>
          match listed r (Array.get l 0) with
          | Some variables =>
              let write i := r.(number) (Int.sub i 1) in
              app (r.(atom)) [atom_number r f; r.(numbers) (List.map write variables)]
          | None => other ()
          end
      | _ => other ()
      end
  | _ => other ()
  end.
(* z n (fun j => x j ⊕ d j) b i, where x moves by d. *)
Ltac2 read_move r n x d b i c :=
  let variables := free 0 [] c in
  let form c := r.(function) variables c in
  let rest := atom_number r (form (app (r.(z)) [n; x; b; i])) in
  let delta := atom_number r (form (app constr:(pad) [n; d; b; i])) in
  let whole := atom_number r (form c) in
  let m := (whole, rest, delta, form (app constr:(parts_of_z) [n; x; d; b; i])) in
  let (k, l) := enter (fun (_, _, _, p) (_, _, _, q) => Constr.equal p q) m (r.(moves)) in
  r.(moves) := l; app constr:(Moved) [r.(number) k; indices r variables].
(* A function i of x i ⊕ d i. *)
Ltac2 moving r c :=
  match Constr.Unsafe.kind c with
  | Constr.Unsafe.Lambda _ c =>
      match Constr.Unsafe.kind c with
      | Constr.Unsafe.App f l =>
          let head k := match Constr.Unsafe.kind (Array.get l k) with Constr.Unsafe.App x _ => x | _ => c end in
          if Constr.equal f (r.(add)) then Some (head 0, head 1) else None
      | _ => None
      end
  | _ => None
  end.
Ltac2 rec read r c :=
  match Constr.Unsafe.kind c with
  | Constr.Unsafe.App f l =>
      let arg k := Array.get l k in
      if Constr.equal f (r.(mul)) then app (r.(times)) [read r (arg 0); read r (arg 1)]
      else if Constr.equal f (r.(sum)) then
        match Constr.Unsafe.kind (arg 1) with
        | Constr.Unsafe.Lambda _ e =>
            let (k, sizes) := enter Constr.equal (arg 0) (r.(sizes)) in
            r.(sizes) := sizes; app (r.(sigma)) [r.(number) k; read r e]
        | _ => read_atom r c
        end
      else if Constr.equal f (r.(add)) then app (r.(plus)) [read r (arg 0); read r (arg 1)]
      else if Constr.equal f (r.(z)) then
        match moving r (arg 1) with
        | Some m => let (x, d) := m in read_move r (arg 0) x d (arg 2) (arg 3) c
        | None => read_atom r c
        end
      else read_atom r c
  | _ => if Constr.equal c (r.(zero)) then constr:(Zero)
         else if Constr.equal c (r.(one)) then constr:(One) else read_atom r c
  end.
(* eq_refl true <: claim = true, where nothing is looked at before Qed. *)
Ltac2 by_computation claim :=
  match Constr.Unsafe.kind constr:(I <: True) with
  | Constr.Unsafe.Cast _ cast _ =>
      let type := app constr:(@eq bool) [claim; constr:(true)] in
      Constr.Unsafe.make (Constr.Unsafe.Cast constr:(eq_refl true) cast type)
  | _ => Control.throw Not_found
  end.
Ltac2 decide () :=
  match Constr.Unsafe.kind (Control.goal ()) with
  | Constr.Unsafe.App _ sides =>
      let r := start () in
      let e := read r (Array.get sides 1) in
      let f := read r (Array.get sides 2) in
      let sizes := r.(numbers) (List.rev (r.(sizes))) in
      let atoms := lists constr:(list nat -> &R) (List.rev (r.(atoms))) in
      let rec made l := match l with
        | [] => []
        | m :: l =>
            let (whole, rest, delta, proof) := m in
            app constr:(Move) [atoms; whole; rest; delta; proof] :: made l
        end in
      let moves := lists (app constr:(move) [atoms]) (made (List.rev (r.(moves)))) in
      let claim e f := app constr:(same_tree) [atoms; moves; e; f] in
      if Constr.equal (Std.eval_vm None (claim e f)) constr:(true) then
        (* let e := … in let f := … in …: so at Qed Coq reads each tree once. *)
        let (first, second) := (Constr.Unsafe.make (Constr.Unsafe.Rel 2), Constr.Unsafe.make (Constr.Unsafe.Rel 1)) in
        let checked := by_computation (claim first second) in
        let proof := app constr:(same_meaning) [sizes; atoms; moves; first; second; checked] in
        let bind name value c :=
          Constr.Unsafe.make (Constr.Unsafe.LetIn (Constr.Binder.make (Some name) constr:(tree)) value c) in
        Std.exact_no_check (bind @e e (bind @f f proof))
      else Control.zero (Tactic_failure (Some (Message.of_string "the sides are not the same sums of products")))
  | _ => Control.zero (Tactic_failure None)
  end.
Ltac by_laws := cbv beta; ltac2:(decide ()).
