(* Equality of sums of products is decided by computation. An expression becomes a tree, whose indices are
   counted from the innermost sum on; an atom is what the tree does not look into, a function of indices. *)
Inductive tree :=
  | Zero | One | Plus (e f : tree) | Times (e f : tree) | Sum (n : nat) (e : tree)
  | Atom (a : nat) (i : list nat) | Moved (m : nat) (i : list nat).

Section Decide.
Variables (sizes : list nat) (atoms : list (list nat -> R)).
Let size n := nth n sizes 0.
Let atom a := nth a atoms (fun _ => zero).
Record move := Move {
  whole : nat; rest : nat; change : nat;
  parts : forall i, atom whole i = atom rest i ⊕ atom change i
}.
Variable moves : list move.

Definition at_indices v a i := atom a (map (fun k => nth k v 0) i).
Fixpoint meaning (v : list nat) (e : tree) : R :=
  match e with
  | Zero => zero
  | One => one
  | Plus e f => meaning v e ⊕ meaning v f
  | Times e f => meaning v e ⊗ meaning v f
  | Sum n e => sum (size n) (fun i => meaning (i :: v) e)
  | Atom a i => at_indices v a i
  | Moved m i => match nth_error moves m with Some m => at_indices v (whole m) i | None => zero end
  end.

(* A monomial has the sizes of its sums, and its atoms, whose indices are counted from the outermost sum on. *)
Definition monomial := (list nat * list (nat * list nat))%type.
Fixpoint sums_of (s : list nat) (f : list nat -> R) : R :=
  match s with [] => f [] | n :: s => sum (size n) (fun i => sums_of s (fun j => f (i :: j))) end.
Definition product v (l : list (nat * list nat)) := fold_right (fun a r => at_indices v (fst a) (snd a) ⊗ r) one l.
Definition evaluate v (m : monomial) := sums_of (fst m) (fun i => product (v ++ i) (snd m)).
Definition total_of v l := fold_right (fun m r => evaluate v m ⊕ r) zero l.

Definition shift d k (a : nat * list nat) := (fst a, map (fun i => if i <? d then i else k + i) (snd a)).
Definition times d (m n : monomial) : monomial :=
  (fst m ++ fst n, snd m ++ map (shift d (length (fst m))) (snd n)).
Definition single d a i : monomial := ([], [(a, map (fun k => d - S k) i)]).
Fixpoint monomials d (e : tree) : list monomial :=
  match e with
  | Zero => []
  | One => [([], [])]
  | Plus e f => monomials d e ++ monomials d f
  | Times e f => let g := monomials d f in flat_map (fun m => map (times d m) g) (monomials d e)
  | Sum n e => map (fun m => (n :: fst m, snd m)) (monomials (S d) e)
  | Atom a i => [single d a i]
  | Moved m i => match nth_error moves m with Some m => [single d (rest m) i; single d (change m) i] | None => [] end
  end.
(* Each index is that of a sum. *)
Fixpoint closed d (e : tree) : bool :=
  match e with
  | Zero | One => true
  | Plus e f | Times e f => closed d e && closed d f
  | Sum _ e => closed (S d) e
  | Atom _ i | Moved _ i => forallb (fun k => k <? d) i
  end.

Lemma sums_of_ext s : forall f g, (forall i, length i = length s -> f i = g i) -> sums_of s f = sums_of s g.
Proof.
  induction s; cbn; intros f g E; [now apply E |]. apply sum_ext. intros. apply IHs. intros. apply E. cbn. now f_equal.
Qed.
Lemma sums_of_scale s c : forall f, sums_of s f ⊗ c = sums_of s (fun i => f i ⊗ c).
Proof. induction s; cbn; intros f; [reflexivity |]. rewrite sum_scale. apply sum_ext. intros. apply IHs. Qed.
Lemma scale_sums_of s c f : c ⊗ sums_of s f = sums_of s (fun i => c ⊗ f i).
Proof. rewrite (SRmul_comm laws), sums_of_scale. apply sums_of_ext. intros. ring. Qed.
Lemma sums_of_app s t : forall f, sums_of (s ++ t) f = sums_of s (fun i => sums_of t (fun j => f (i ++ j))).
Proof. induction s; cbn; intros f; [reflexivity |]. apply sum_ext. intros. now rewrite IHs. Qed.
Lemma product_app v l m : product v (l ++ m) = product v l ⊗ product v m.
Proof. unfold product. induction l; cbn; [| rewrite IHl]; ring. Qed.
Lemma total_app v l m : total_of v (l ++ m) = total_of v l ⊕ total_of v m.
Proof. unfold total_of. induction l; cbn; [| rewrite IHl]; ring. Qed.
Lemma product_map g v w l :
  Forall (fun a => at_indices v (fst (g a)) (snd (g a)) = at_indices w (fst a) (snd a)) l ->
  product v (map g l) = product w l.
Proof. unfold product. induction 1 as [| a l H _ IH]; cbn; [reflexivity |]. now rewrite H, IH. Qed.

Definition within d (m : monomial) := Forall (fun a => Forall (fun k => k < d + length (fst m)) (snd a)) (snd m).
Lemma times_within d m n : within d m -> within d n -> within d (times d m n).
Proof.
  unfold within. intros F G. cbn. rewrite app_length. apply Forall_app. split.
  - revert F. apply Forall_impl. intros a. apply Forall_impl. intros k H. cbn in *. lia.
  - apply Forall_map. revert G. apply Forall_impl. intros a H. cbn [shift fst snd]. apply Forall_map. revert H.
    apply Forall_impl. intros k H. cbv beta in *. destruct (Nat.ltb_spec k d); lia.
Qed.
Lemma single_within d a i : forallb (fun k => k <? d) i = true -> within d (single d a i).
Proof.
  intros H. constructor; [| constructor]. cbn. apply Forall_map, Forall_forall. intros k I.
  rewrite forallb_forall in H. apply H, Nat.ltb_lt in I. lia.
Qed.
Lemma monomials_within e : forall d, closed d e = true -> Forall (within d) (monomials d e).
Proof.
  induction e; cbn; intros d C; try apply andb_prop in C as [C D].
  - constructor.
  - constructor; constructor.
  - apply Forall_app. auto.
  - apply Forall_flat_map. pose proof (IHe2 _ D) as G. generalize (IHe1 _ C). apply Forall_impl. intros m H.
    apply Forall_map. revert G. apply Forall_impl. intros. now apply times_within.
  - apply Forall_map. generalize (IHe _ C). apply Forall_impl. intros m. apply Forall_impl. intros a.
    apply Forall_impl. intros k H. cbn in *. lia.
  - constructor; [now apply single_within | constructor].
  - destruct (nth_error moves m); [| constructor].
    constructor; [| constructor; [| constructor]]; now apply single_within.
Qed.
Lemma evaluate_times v m n : within (length v) m ->
  evaluate v (times (length v) m n) = evaluate v m ⊗ evaluate v n.
Proof.
  intros F. unfold evaluate. cbn [times fst snd]. rewrite sums_of_app, sums_of_scale. apply sums_of_ext. intros i E.
  rewrite scale_sums_of. apply sums_of_ext. intros j _. rewrite product_app. f_equal.
  - rewrite <- (map_id (snd m)) at 1. apply product_map. revert F. apply Forall_impl. intros a H. cbn.
    unfold at_indices. f_equal. apply map_ext_Forall. revert H. apply Forall_impl. intros k H.
    rewrite app_assoc, (app_nth1 (v ++ i)); [reflexivity |]. rewrite app_length. lia.
  - apply product_map, Forall_forall. intros a _. unfold at_indices. cbn [shift fst snd].
    rewrite map_map. f_equal. apply map_ext. intros k.
    destruct (Nat.ltb_spec k (length v)); [now rewrite !app_nth1 |].
    rewrite !app_nth2 by lia. f_equal. lia.
Qed.
Lemma total_times v l g : Forall (within (length v)) l ->
  total_of v (flat_map (fun m => map (times (length v) m) g) l) = total_of v l ⊗ total_of v g.
Proof.
  induction 1 as [| m l F _ IH]; [cbn; ring |]. cbn [flat_map]. rewrite total_app, IH.
  change (total_of v (m :: l)) with (evaluate v m ⊕ total_of v l).
  transitivity (evaluate v m ⊗ total_of v g ⊕ total_of v l ⊗ total_of v g); [| ring].
  f_equal. clear IH. unfold total_of. induction g as [| n g IH]; cbn [map fold_right]; [ring |].
  rewrite IH, evaluate_times by assumption. ring.
Qed.
Lemma evaluate_sum n v m : sum (size n) (fun i => evaluate (v ++ [i]) m) = evaluate v (n :: fst m, snd m).
Proof. apply sum_ext. intros i _. apply sums_of_ext. intros j _. now rewrite <- app_assoc. Qed.
Lemma total_sum n v l :
  sum (size n) (fun i => total_of (v ++ [i]) l) = total_of v (map (fun m => (n :: fst m, snd m)) l).
Proof.
  unfold total_of. induction l; cbn [map fold_right]; [apply sum_zero |]. now rewrite <- IHl, <- evaluate_sum, sum_plus.
Qed.
Lemma evaluate_single v a i : forallb (fun k => k <? length v) i = true ->
  evaluate (rev v) (single (length v) a i) = at_indices v a i.
Proof.
  intros H. unfold evaluate. cbn. rewrite app_nil_r.
  transitivity (at_indices (rev v) a (map (fun k => length v - S k) i)); [ring |].
  unfold at_indices. f_equal. rewrite map_map. apply map_ext_in. intros k I.
  rewrite forallb_forall in H. apply H, Nat.ltb_lt in I. rewrite rev_nth by lia. f_equal. lia.
Qed.
Lemma meaning_total e : forall v, closed (length v) e = true -> meaning v e = total_of (rev v) (monomials (length v) e).
Proof.
  induction e; cbn [meaning monomials closed]; intros v C;
    try (apply andb_prop in C as [C D]; rewrite (IHe1 _ C), (IHe2 _ D)).
  - reflexivity.
  - unfold total_of, evaluate. cbn. ring.
  - now rewrite total_app.
  - pose proof (total_times (rev v) (monomials (length v) e1) (monomials (length v) e2)) as T.
    rewrite rev_length in T. symmetry. apply T. now apply monomials_within.
  - rewrite <- total_sum. apply sum_ext. intros i _. apply (IHe (i :: v) C).
  - unfold total_of. cbn [fold_right]. rewrite evaluate_single by assumption. ring.
  - unfold total_of. destruct (nth_error moves m) as [[w r c P] |]; cbn [fold_right whole rest change]; [| reflexivity].
    rewrite !evaluate_single by assumption. unfold at_indices. rewrite P. ring.
Qed.

(* The order of sums: a code says which of those that remain comes next. *)
Fixpoint remove k (l : list nat) :=
  match l, k with [], _ => [] | _ :: l, 0 => l | n :: l, S k => n :: remove k l end.
Fixpoint insert k (i : nat) l := match k, l with S k, j :: l => j :: insert k i l | _, _ => i :: l end.
Fixpoint allowed code n : bool := match code with [] => true | k :: code => (k <? n) && allowed code (pred n) end.
Fixpoint reorder code s := match code with [] => s | k :: code => nth k s 0 :: reorder code (remove k s) end.
Fixpoint restore code i :=
  match code, i with k :: code, a :: i => insert k a (restore code i) | _, _ => i end.

Lemma sums_of_select k : forall s f, k < length s ->
  sums_of s f = sum (size (nth k s 0)) (fun i => sums_of (remove k s) (fun j => f (insert k i j))).
Proof.
  induction k as [| k IH]; intros [| n s] f H; cbn in *; try lia; [reflexivity |].
  rewrite sum_swap. apply sum_ext. intros i _. apply IH. lia.
Qed.
Lemma length_remove k : forall s, k < length s -> length (remove k s) = pred (length s).
Proof. induction k as [| k IH]; intros [| n s] H; cbn in *; try lia. rewrite IH by lia. destruct s; cbn in *; lia. Qed.
Lemma sums_of_reorder code : forall s f, allowed code (length s) = true ->
  sums_of s f = sums_of (reorder code s) (fun i => f (restore code i)).
Proof.
  induction code as [| k code IH]; intros s f A; [reflexivity |].
  cbn in A. apply andb_prop in A as [A B]. apply Nat.ltb_lt in A.
  rewrite (sums_of_select k) by assumption. cbn. apply sum_ext. intros i _.
  apply IH with (f := fun j => f (insert k i j)). now rewrite length_remove.
Qed.
Lemma length_reorder code : forall s, allowed code (length s) = true -> length (reorder code s) = length s.
Proof.
  induction code as [| k code IH]; intros s A; [reflexivity |].
  cbn in A. apply andb_prop in A as [A B]. apply Nat.ltb_lt in A.
  cbn. rewrite IH; rewrite length_remove by assumption; [lia | assumption].
Qed.
Lemma insert_map (g : nat -> nat) k i : forall l, insert k (g i) (map g l) = map g (insert k i l).
Proof. induction k; intros [| j l]; cbn; try reflexivity. now rewrite IHk. Qed.
Lemma restore_map (g : nat -> nat) code : forall l, restore code (map g l) = map g (restore code l).
Proof. induction code; intros [| j l]; cbn; try reflexivity. now rewrite IHcode, insert_map. Qed.
Lemma as_places i : i = map (fun k => nth k i 0) (seq 0 (length i)).
Proof.
  induction i as [| a i IH]; [reflexivity |]. cbn [length seq map nth]. f_equal.
  rewrite <- seq_shift, map_map. exact IH.
Qed.

(* Two monomials are equal if the second's sums can be put in an order in which its atoms are the first's. *)
Fixpoint same_list (l m : list nat) : bool :=
  match l, m with [], [] => true | i :: l, j :: m => (i =? j) && same_list l m | _, _ => false end.
Definition same_atom (a b : nat * list nat) : bool := (fst a =? fst b) && same_list (snd a) (snd b).
Section Take.
Context {T : Type} (same : T -> T -> bool).
Fixpoint take a l :=
  match l with
  | [] => None
  | b :: l => if same a b then Some l else match take a l with Some l => Some (b :: l) | None => None end
  end.
Fixpoint agree l m :=
  match l with
  | [] => match m with [] => true | _ => false end
  | a :: l => match take a m with Some m => agree l m | None => false end
  end.
Variables (op : R -> R -> R) (unit : R) (of : T -> R).
Hypothesis swap : forall a b c, op a (op b c) = op b (op a c).
Hypothesis same_of : forall a b, same a b = true -> of a = of b.
Lemma take_of a : forall l m, take a l = Some m ->
  fold_right (fun a r => op (of a) r) unit l = op (of a) (fold_right (fun a r => op (of a) r) unit m).
Proof.
  induction l as [| b l IH]; cbn; intros m E; [discriminate |].
  destruct (same a b) eqn:S; [injection E as <-; now rewrite (same_of _ _ S) |].
  destruct (take a l) as [k |]; [| discriminate]. injection E as <-. cbn. now rewrite (IH k eq_refl).
Qed.
Lemma agree_of l : forall m, agree l m = true ->
  fold_right (fun a r => op (of a) r) unit l = fold_right (fun a r => op (of a) r) unit m.
Proof.
  induction l as [| a l IH]; cbn; intros m E; [now destruct m |].
  destruct (take a m) as [k |] eqn:F; [| discriminate]. now rewrite (IH _ E), (take_of _ _ _ F).
Qed.
End Take.

(* The search for the order, atom after atom: pairs of indices that correspond. *)
Fixpoint joined x y (l : list (nat * nat)) :=
  match l with
  | [] => None
  | (a, b) :: l => if a =? x then Some (b =? y) else if b =? y then Some false else joined x y l
  end.
Definition join s t x y l :=
  match joined x y l with
  | Some true => Some l
  | None => if nth x s 0 =? nth y t 0 then Some ((x, y) :: l) else None
  | _ => None
  end.
Fixpoint join_all s t i j l :=
  match i, j with
  | [], [] => Some l
  | x :: i, y :: j => match join s t x y l with Some l => join_all s t i j l | None => None end
  | _, _ => None
  end.
Fixpoint first_some {T U : Type} (f : T -> option U) l :=
  match l with [] => None | a :: l => match f a with Some b => Some b | None => first_some f l end end.
Fixpoint choices (a : nat) (before l : list (nat * list nat)) :=
  match l with
  | [] => []
  | b :: l =>
      let more := choices a (b :: before) l in if a =? fst b then (snd b, rev_append before l) :: more else more
  end.
Fixpoint search s t l m known :=
  match l with
  | [] => match m with [] => Some known | _ => None end
  | (a, i) :: l =>
      first_some (fun '(j, m) =>
        match join_all s t i j known with Some known => search s t l m known | None => None end) (choices a [] m)
  end.
(* Sums over indices that are in no atom. *)
Definition complete s t known :=
  fold_left (fun known x =>
    if existsb (fun p => fst p =? x) known then known
    else match first_some (fun y => join s t x y known) (seq 0 (length t)) with Some l => l | None => known end)
    (seq 0 (length s)) known.
Definition partner known x := match find (fun p => fst p =? x) known with Some p => snd p | None => 0 end.
Fixpoint place_of y l := match l with [] => 0 | x :: l => if x =? y then 0 else S (place_of y l) end.
Fixpoint code_of order left :=
  match order with [] => [] | y :: order => let k := place_of y left in k :: code_of order (remove k left) end.
Definition renamed p (k : nat) (a : nat * list nat) := (fst a, map (fun y => nth y p k) (snd a)).
Definition fits_code code (m n : monomial) : bool :=
  let k := length (fst n) in
  allowed code k && same_list (fst m) (reorder code (fst n))
  && agree same_atom (snd m) (map (renamed (restore code (seq 0 k)) k) (snd n)).
Definition same_monomial (m n : monomial) : bool :=
  match search (fst m) (fst n) (snd m) (snd n) [] with
  | None => false
  | Some known =>
      let order := map (partner (complete (fst m) (fst n) known)) (seq 0 (length (fst m))) in
      fits_code (code_of order (seq 0 (length (fst n)))) m n
  end.
Definition same_tree e f : bool :=
  closed 0 e && closed 0 f && agree same_monomial (monomials 0 e) (monomials 0 f).

Lemma same_list_eq l : forall m, same_list l m = true -> l = m.
Proof.
  induction l; intros [|]; cbn; try discriminate; [reflexivity |]. intros E. apply andb_prop in E as [E F].
  apply Nat.eqb_eq in E as ->. f_equal. auto.
Qed.
Lemma product_agree v l m : agree same_atom l m = true -> product v l = product v m.
Proof.
  unfold product. apply agree_of with (op := mul) (of := fun a => at_indices v (fst a) (snd a)); [intros; ring |].
  intros [a i] [b j] E. apply andb_prop in E as [E F].
  apply Nat.eqb_eq in E. apply same_list_eq in F. cbn in *. now subst.
Qed.
Lemma same_monomial_evaluate m n : same_monomial m n = true -> evaluate [] m = evaluate [] n.
Proof.
  unfold same_monomial. destruct search as [known |]; [| discriminate]. generalize (code_of
    (map (partner (complete (fst m) (fst n) known)) (seq 0 (length (fst m)))) (seq 0 (length (fst n)))). intros code H.
  apply andb_prop in H as [H G]. apply andb_prop in H as [A H]. apply same_list_eq in H. unfold evaluate.
  rewrite (sums_of_reorder _ (fst n) _ A), H. apply sums_of_ext. intros i E. rewrite length_reorder in E by assumption.
  cbn. rewrite (product_agree _ _ _ G). apply product_map, Forall_forall. intros a _. unfold at_indices. cbn. f_equal.
  rewrite map_map. apply map_ext. intros y. rewrite (as_places i) at 2. rewrite restore_map, E.
  rewrite <- (map_nth (fun k => nth k i 0)). f_equal. now rewrite nth_overflow by lia.
Qed.
Lemma same_meaning e f : same_tree e f = true -> meaning [] e = meaning [] f.
Proof.
  unfold same_tree. intros H. apply andb_prop in H as [C H]. apply andb_prop in C as [C D].
  rewrite (meaning_total e [] C), (meaning_total f [] D). cbn. unfold total_of.
  apply agree_of with (op := add) (of := evaluate []) (same := same_monomial); [intros; ring | | exact H].
  exact same_monomial_evaluate.
Qed.
End Decide.
